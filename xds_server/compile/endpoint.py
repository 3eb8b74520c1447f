"""Where a cluster's requests can go: an endpoint assignment (EDS) of a service, or of one of its versions."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.wrappers_pb2 import UInt32Value

from xds_server.compile.address import tcp
from xds_server.compile.locality import Place, count_zones, shares
from xds_server.endpoint import Endpoint

_Group = tuple[int, str, tuple[Endpoint, ...]]
"""A priority's rank, a zone, and the endpoints there."""


def assignment(
    cluster: str, endpoints: Iterable[Endpoint], place: Place | None = None, backup: Iterable[Endpoint] = ()
) -> ClusterLoadAssignment:
    """Return the assignment, sorted; explicitly empty where there is no endpoint.

    Unhealthy endpoints are marked so, but never all of them: when every check fails it is likelier
    that the check is wrong, and the last endpoint of a service is never withdrawn (design §4). A
    `backup` that can work takes over before that. `place` is the caller's, where that matters.
    """
    own, others = tuple(endpoints), tuple(backup)
    rescued = any(e.healthy and e.ready for e in others)
    panic = not rescued and not any(e.healthy for e in own)
    groups = [*_groups(own, place, 0), *_groups(others, place, 2)]
    priorities = {rank: n for n, rank in enumerate(sorted({rank for rank, *_ in groups}))}
    found = [
        components.LocalityLbEndpoints(
            locality=Locality(zone=zone),
            lb_endpoints=[_host(e, healthy=(e.healthy and (e.ready or not rescued)) or panic) for e in group],
            priority=priorities[rank],
        )
        for rank, zone, group in groups
    ]
    if place is not None and place.callers is not None:
        _weigh(found, shares(place.zone, place.callers, count_zones(own)))
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=found)


def _groups(endpoints: tuple[Endpoint, ...], place: Place | None, base: int) -> Iterator[_Group]:
    """Yield the endpoints by priority and zone."""

    def key(e: Endpoint) -> tuple[int, str]:
        return (base + place.rank(e.zone) if place else base), e.zone

    ordered = sorted(endpoints, key=lambda e: (*key(e), e.instance, e.address, e.port))
    for (rank, zone), group in groupby(ordered, key=key):
        yield rank, zone, tuple(group)


def _weigh(localities: list[components.LocalityLbEndpoints], weights: Mapping[str, int]) -> None:
    """Give each zone its share; with locality weights, one without any would get nothing."""
    for locality in localities:
        locality.load_balancing_weight.CopyFrom(UInt32Value(value=weights.get(locality.locality.zone, 1)))


def _host(endpoint: Endpoint, *, healthy: bool) -> components.LbEndpoint:
    """Return one host; its host name is the instance's id, which access logs show."""
    return components.LbEndpoint(
        endpoint=components.Endpoint(address=tcp(endpoint.address, endpoint.port), hostname=endpoint.instance),
        health_status=HealthStatus.HEALTHY if healthy else HealthStatus.UNHEALTHY,
    )
