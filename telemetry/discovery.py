"""Prometheus HTTP service discovery: the registry's instances as target groups. Pure.

https://prometheus.io/docs/prometheus/latest/http_sd/
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from legation.mesh.instance import InstanceSpec
from legation.mesh.model.telemetry_only import TelemetryOnly
from legation.runtime.control.messages import Instance
from telemetry.rules.conventions import COMPONENT, INSTANCE, MESH, SERVICE, VERSION, ZONE

PATH_LABEL = "__metrics_path__"
SIDECAR_PATH = "/stats/prometheus"
COMPONENT_PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """One element of the answer: addresses (`host:port`) that share labels."""

    targets: tuple[str, ...]
    labels: Mapping[str, str]


def target_groups(
    mesh: str,
    instances: Iterable[Instance],
    components: Mapping[str, str],
    host: str = "",
    telemetry_only: Iterable[tuple[str, TelemetryOnly]] = (),
) -> tuple[TargetGroup, ...]:
    """Return a group for each connected instance by id, then one for each of our own services by name.

    Between them, in the order given, are Envoys without a stream, each with its service.

    `components` maps a name to `host:port`. Components bear the label `component` and no `service`, so that what
    they say of services stays under the services' own names. Of instances that other hosts reach, those alone
    are here whose metrics are on the loopback of `host`, our own address there.
    """
    near = (i for i in instances if i.connected and _is_near(i.spec, host))
    connected = sorted(near, key=lambda instance: instance.id)
    sidecars = (_sidecar(mesh, instance) for instance in connected)
    ours = (
        TargetGroup((at,), {MESH: mesh, COMPONENT: name, INSTANCE: name, PATH_LABEL: COMPONENT_PATH})
        for name, at in sorted(components.items())
    )
    return (*sidecars, *(_without_stream(mesh, service, one) for service, one in telemetry_only), *ours)


def _is_near(spec: InstanceSpec, host: str) -> bool:
    """Say whether an instance's metrics can be reached from here: a mesh has the same block on one host alone.

    A container's are where it was told that Prometheus is, or nowhere.
    """
    if spec.by_name:
        return bool(spec.metrics_address)
    return not spec.loopback or spec.loopback.split(".")[:2] == host.split(".")[:2]


def _sidecar(mesh: str, instance: Instance) -> TargetGroup:
    spec = instance.spec
    at = join(spec.scraped_address, spec.metrics_port)
    return _group(mesh, at, (spec.service, spec.version, instance.id), spec.zone)


def _without_stream(mesh: str, service: str, one: TelemetryOnly) -> TargetGroup:
    return _group(mesh, join(one.address, one.port), (service, one.version, one.id(service)), one.zone or "")


def _group(mesh: str, at: str, who: tuple[str, str, str], zone: str) -> TargetGroup:
    service, version, instance = who
    labels = {MESH: mesh, SERVICE: service, VERSION: version, INSTANCE: instance, PATH_LABEL: SIDECAR_PATH}
    return TargetGroup((at,), labels | ({ZONE: zone} if zone else {}))


def join(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
