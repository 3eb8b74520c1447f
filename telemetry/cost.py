"""What a mesh costs a Prometheus, from mesh.yaml alone: series of each proxy, before it is applied. Pure.

Proxies count what `xds_server.compile.inclusion` lists, so it can be added up. gRPC statuses and what callers give up
are left out: each has a series of its own from its first hit. Of the full profile it is an estimate, by what a stock
Envoy 1.40 printed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.slo import LATENCY_BUCKETS
from xds_server.compile.route import targets

HISTOGRAM = len(LATENCY_BUCKETS) + 3
"""Its buckets, the one without an end, the sum and the count."""

CALLER = 5 + HISTOGRAM
"""Of each called or exposed service: five classes of status, the time."""

CLUSTER = 4
"""Of each cluster: retries, two overflows, failed connections."""

GATEWAY_CALLER = 3
"""Of each exposed service besides: completed, in flight, connections, for `legation status` and draining."""

GATEWAYS = 2
"""What a host runs, so that one can be replaced."""

SIDECAR = CALLER + 3 + 1 + 4 + 2 + 1
"""Of what arrives: as of a called service; completed, in flight, connections; denied; handshakes; certificates; app."""

PROXY = 2 + 1 + 2 + 1 + 2 + 1
"""Of the proxy itself: certificates, streams to xds_server, clusters, listeners that warm, life, lost log records."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The series of one proxy of a service, and how many proxies of it mesh.yaml starts."""

    service: str
    series: int
    instances: int

    @property
    def total(self) -> int:
        """The series of all of them."""
        return self.series * self.instances


def costs(mesh: Mesh) -> tuple[Cost, ...]:
    """Return the cost of each service's proxies, and of the gateway's two where something is exposed."""
    started: dict[str, int] = {}
    for workload in mesh.workloads:
        started[workload.service] = started.get(workload.service, 0) + workload.instances
    found = [Cost(name, sidecar(mesh, name), started.get(name, 0)) for name in mesh.services]
    exposed = mesh.exposed()
    gateway = (
        _full(mesh, exposed)
        if mesh.metrics.is_full
        else _proxy(mesh) + sum(GATEWAY_CALLER + _caller(mesh, name) + _clusters(mesh, name) for name in exposed)
    )
    return (*found, *([Cost(names.GATEWAY, gateway, GATEWAYS)] if exposed else []))


FULL_PROXY, FULL_CLUSTER = 1127, 400
"""Of a proxy that calls nobody, and of each cluster with the requests to it, in the full profile."""


def sidecar(mesh: Mesh, service: str) -> int:
    """Return the series of one sidecar: one more where its app may not call whomever it likes."""
    if mesh.metrics.is_full:
        called = (call.service for call in mesh.services[service].calls if call.service in mesh.services)
        return _full(mesh, called) + FULL_CLUSTER  # for what it is asked of servers that mesh.yaml does not name
    called = (call.service for call in mesh.services[service].calls)
    blocked = names.PASSTHROUGH not in mesh.reached(service)
    return _proxy(mesh) + SIDECAR + blocked + sum(_caller(mesh, name) + _clusters(mesh, name) for name in called)


def _proxy(mesh: Mesh) -> int:
    """Return the series of any proxy: one more where it counts lost spans."""
    return PROXY + (mesh.tracing is not None)


def _full(mesh: Mesh, called: Iterable[str]) -> int:
    """Return about how many series a proxy has that counts everything."""
    return FULL_PROXY + FULL_CLUSTER * sum(len(targets(mesh.services[name])) for name in called)


def _caller(mesh: Mesh, service: str) -> int:
    """Return the series of requests to a service; TCP has none."""
    return 0 if mesh.services[service].protocol == "tcp" else CALLER


def _clusters(mesh: Mesh, service: str) -> int:
    """Return the series of the clusters that requests to a service go to: one a version that a split names."""
    found = mesh.services[service]
    return (CLUSTER + (found.outlier_detection is not None)) * len(targets(found))
