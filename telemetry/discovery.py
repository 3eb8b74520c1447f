"""Prometheus HTTP service discovery: the registry's instances as target groups. Pure.

https://prometheus.io/docs/prometheus/latest/http_sd/
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from legation.mesh.instance import InstanceSpec
from legation.mesh.model.telemetry_only import TelemetryOnly
from legation.runtime import host_port
from legation.runtime.control.messages import Instance
from telemetry.rules.conventions import COMPONENT, INSTANCE, MESH, SERVICE, VERSION, ZONE

PATH_LABEL = "__metrics_path__"
SIDECAR_PATH = "/stats/prometheus"
COMPONENT_PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class Here:
    """Where we are: `host` is our own loopback address, `address` how other hosts know this one, if any do.

    `relay` is our own host:port, where Prometheus gets the metrics of other hosts' sidecars.
    """

    host: str = ""
    address: str = ""
    relay: str = ""


NOWHERE = Here()
"""On one host, whose address does not matter."""


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """One element of the answer: addresses (`host:port`) that share labels."""

    targets: tuple[str, ...]
    labels: Mapping[str, str]


def target_groups(
    mesh: str,
    instances: Iterable[Instance],
    components: Mapping[str, str],
    here: Here = NOWHERE,
    telemetry_only: Iterable[tuple[str, TelemetryOnly]] = (),
) -> tuple[TargetGroup, ...]:
    """Return a group for each connected instance by id, then one for each of our own services by name.

    Between them, in the order given, are Envoys without a stream, each with its service.

    `components` maps a name to `host:port`. Components bear the label `component` and no `service`, so that what
    they say of services stays under the services' own names. The sidecars of other hosts, whose metrics are on
    a loopback there, are here where we are known to them: they are asked through us.
    """
    connected = sorted((i for i in instances if i.connected), key=lambda instance: instance.id)
    sidecars = (group for one in connected if (group := _sidecar(mesh, one, here)) is not None)
    ours = (
        TargetGroup((at,), {MESH: mesh, COMPONENT: name, INSTANCE: name, PATH_LABEL: COMPONENT_PATH})
        for name, at in sorted(components.items())
    )
    return (*sidecars, *(_without_stream(mesh, service, one) for service, one in telemetry_only), *ours)


def is_near(spec: InstanceSpec, here: Here) -> bool:
    """Say whether an instance's metrics can be reached from here.

    Those of one that other hosts reach are on its own host's loopback: ours, where they reach it at our address, or
    without one in our block, which a mesh has on one host alone. A container's are where it was told that
    Prometheus is, or nowhere.
    """
    if spec.by_name:
        return bool(spec.metrics_address)
    if not spec.loopback or here.address:
        return not spec.loopback or spec.address == here.address
    return spec.loopback.split(".")[:2] == here.host.split(".")[:2]


def is_far(spec: InstanceSpec, here: Here) -> bool:
    """Say whether an instance's metrics are on the loopback of another host, whose telemetry knows us."""
    return bool(here.address) and not spec.by_name and not is_near(spec, here)


def relayed(instance: str) -> str:
    """Return the path at a telemetry where the metrics of a sidecar on another host are."""
    return f"/instances/{quote(instance, safe='')}/metrics"


def _sidecar(mesh: str, instance: Instance, here: Here) -> TargetGroup | None:
    spec = instance.spec
    who = (spec.service, spec.version, instance.id)
    if is_far(spec, here):
        return _group(mesh, here.relay, who, spec.zone, relayed(instance.id))
    at = host_port.join(spec.scraped_address, spec.metrics_port)
    return _group(mesh, at, who, spec.zone) if is_near(spec, here) else None


def _without_stream(mesh: str, service: str, one: TelemetryOnly) -> TargetGroup:
    return _group(mesh, host_port.join(one.address, one.port), (service, one.version, one.id(service)), one.zone or "")


def _group(mesh: str, at: str, who: tuple[str, str, str], zone: str, path: str = SIDECAR_PATH) -> TargetGroup:
    service, version, instance = who
    labels = {MESH: mesh, SERVICE: service, VERSION: version, INSTANCE: instance, PATH_LABEL: path}
    return TargetGroup((at,), labels | ({ZONE: zone} if zone else {}))
