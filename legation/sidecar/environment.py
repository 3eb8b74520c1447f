"""What an app is told by its environment: where to listen, and where the services that it calls are."""

from collections.abc import Mapping

from legation.mesh import names


def app_environment(
    inherited: Mapping[str, str], *, instance: str, version: str, address: str, port: int, outbound: Mapping[str, int]
) -> dict[str, str]:
    """Return the app's environment: `HOST`, `PORT`, and `X_URL`, `X_HOST`, `X_PORT` for each called service X."""
    environment = dict(inherited)
    environment |= {"HOST": "127.0.0.1", "PORT": str(port), "INSTANCE": instance, "VERSION": version}
    for service, outbound_port in outbound.items():
        prefix = names.env_prefix(service)
        environment[f"{prefix}_URL"] = f"http://{address}:{outbound_port}"
        environment[f"{prefix}_HOST"] = address
        environment[f"{prefix}_PORT"] = str(outbound_port)
    return environment
