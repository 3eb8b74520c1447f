"""Where a cluster's requests can go: an endpoint assignment (EDS) of a service, or of one of its versions."""

from collections.abc import Iterable
from itertools import groupby

from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from xds_server.compile.address import tcp
from xds_server.endpoint import Endpoint


def assignment(cluster: str, endpoints: Iterable[Endpoint]) -> ClusterLoadAssignment:
    """Return the assignment, sorted; explicitly empty where there is no endpoint.

    Unhealthy endpoints are marked so, but never all of them: when every check fails it is likelier
    that the check is wrong, and the last endpoint of a service is never withdrawn (design §4).
    """
    ordered = sorted(endpoints, key=lambda e: (e.zone, e.instance, e.address, e.port))
    panic = not any(e.healthy for e in ordered)
    localities = [
        components.LocalityLbEndpoints(
            locality=Locality(zone=zone), lb_endpoints=[_host(e, healthy=e.healthy or panic) for e in group]
        )
        for zone, group in groupby(ordered, key=lambda e: e.zone)
    ]
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=localities)


def _host(endpoint: Endpoint, *, healthy: bool) -> components.LbEndpoint:
    """Return one host; its host name is the instance's id, which access logs show."""
    return components.LbEndpoint(
        endpoint=components.Endpoint(address=tcp(endpoint.address, endpoint.port), hostname=endpoint.instance),
        health_status=HealthStatus.HEALTHY if healthy else HealthStatus.UNHEALTHY,
    )
