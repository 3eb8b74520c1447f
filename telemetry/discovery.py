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
PER_HOST = ("certmgr", "telemetry")
"""Our own services that each host has one of."""


@dataclass(frozen=True, slots=True)
class Here:
    """Where we are: `host` is our own loopback address, `address` how other hosts know this one, if any do.

    `relay` is our own host:port, where Prometheus gets the metrics of what runs on other hosts.
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
    a loopback there, are here where we are known to them: they are asked through us. So are those hosts' own services.
    """
    connected = sorted((i for i in instances if i.connected), key=lambda instance: instance.id)
    sidecars = (group for one in connected if (group := _sidecar(mesh, one, here)) is not None)
    ours = (
        TargetGroup((at,), {MESH: mesh, COMPONENT: name, INSTANCE: name, PATH_LABEL: COMPONENT_PATH})
        for name, at in sorted(components.items())
    )
    theirs = (
        _of_host(mesh, name, host, here)
        for host in far_hosts(connected, here)
        for name in PER_HOST
        if name in components
    )
    return (*sidecars, *(_without_stream(mesh, service, one) for service, one in telemetry_only), *ours, *theirs)


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


def far_hosts(instances: Iterable[Instance], here: Here) -> tuple[str, ...]:
    """Return the addresses of other hosts that have sidecars and know us, sorted."""
    return tuple(sorted({one.spec.address for one in instances if one.connected and is_far(one.spec, here)}))


def relayed(instance: str) -> str:
    """Return the path at a telemetry where the metrics of a sidecar on another host are, or of a service of ours there.

    What may stand in a path stays as it is: Prometheus would quote a quotation.
    """
    return f"/instances/{quote(instance, safe='@:')}/metrics"


def of_host(component: str, host: str) -> str:
    """Return what a service of ours on another host is called."""
    return f"{component}@{host}"


def parted(instance: str) -> tuple[str, str]:
    """Return the service of ours, and its host, that such a name is of; ("", "") where it is an instance's."""
    component, _, host = instance.partition("@")
    return (component, host) if component in PER_HOST else ("", "")


def _of_host(mesh: str, component: str, host: str, here: Here) -> TargetGroup:
    name = of_host(component, host)
    return TargetGroup((here.relay,), {MESH: mesh, COMPONENT: component, INSTANCE: name, PATH_LABEL: relayed(name)})


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
