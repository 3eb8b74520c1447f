"""What an app is told by its environment: where to listen, and where the services that it calls are; and its Envoy."""

from collections.abc import Mapping

from legation.mesh import names
from legation.mesh.instance import InstanceSpec

_OF_THE_APP = "LEGATION_APP_ENV_"
"""Before the name of a variable that is the app's alone: a PYTHONPATH or LD_PRELOAD of its may break others."""


def handed_to_app(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables as `legation run` is to be given those that it hands to the app, and to nobody else."""
    return {f"{_OF_THE_APP}{name}": value for name, value in variables.items()}


def app_environment(inherited: Mapping[str, str], spec: InstanceSpec) -> dict[str, str]:
    """Return the app's environment: `HOST`, `PORT`, and `X_URL`, `X_HOST`, `X_PORT` for each called service X.

    And the proxy for all others, which refuses and counts them without `passthrough`, where the app is given no other
    in mesh.yaml.
    """
    own = {name.removeprefix(_OF_THE_APP): v for name, v in inherited.items() if name.startswith(_OF_THE_APP)}
    environment = _without_the_apps(inherited) | own
    environment |= {"HOST": spec.app_address, "PORT": str(spec.app_port)}
    environment |= {"INSTANCE": spec.id, "VERSION": spec.version}
    for service, port in spec.outbound_ports.items():
        prefix = names.env_prefix(service)
        environment[f"{prefix}_URL"] = f"http://{spec.own_address}:{port}"
        environment[f"{prefix}_HOST"] = spec.own_address
        environment[f"{prefix}_PORT"] = str(port)
        if service == names.PASSTHROUGH:
            proxy = _proxy(f"http://{spec.own_address}:{port}", spec)
            environment |= {name: own.get(name, value) for name, value in proxy.items()}
    return environment


def _proxy(url: str, spec: InstanceSpec) -> dict[str, str]:
    """Return what most HTTP clients read, in both spellings: curl and Go ask for http_proxy in lower case alone."""
    found = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": f"localhost,127.0.0.1,127.0.0.0/8,{spec.own_address}"}
    return found | {name.lower(): value for name, value in found.items()}


def envoy_environment(inherited: Mapping[str, str], spec: InstanceSpec) -> dict[str, str]:
    """Return Envoy's environment: who it is, for its log, and its spans (OpenTelemetry Resource)."""
    attributes = {"service.instance.id": spec.id, "service.version": spec.version}
    said = ",".join(f"{name}={value}" for name, value in attributes.items())
    own = {names.INSTANCE_VARIABLE: spec.id, names.VERSION_VARIABLE: spec.version, "OTEL_RESOURCE_ATTRIBUTES": said}
    return {**_without_the_apps(inherited), **own}


def _without_the_apps(inherited: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in inherited.items() if not name.startswith(_OF_THE_APP)}
