"""Resources as one static file, in which a stock Envoy can look at each of them without a server. Pure.

Each resource stands by itself, as it does when it comes over ADS: what refers to another meets a stub of
that name. So what Envoy says of one is not due to its neighbours, and one run proves what many proxies get.
"""

from collections.abc import Callable, Iterable, Sequence

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from legation.mesh import names
from xds_server import snapshot as kinds
from xds_server.compile.address import one_host, tcp
from xds_server.compile.http import network_filter, router
from xds_server.compile.pack import pack, serialize
from xds_server.snapshot import Resource

BOOTSTRAP_CLUSTERS = (names.XDS_CLUSTER, names.SDS_CLUSTER, names.ADMIN_CLUSTER, names.LOGS_CLUSTER)
"""What every bootstrap of ours has, and resources may refer to."""
_HOST = tcp("127.0.0.1", 1)


def rendition(resources: Sequence[Resource], clusters: Iterable[str]) -> bytes:
    """Return a serialised Bootstrap that holds these clusters, listeners and routes.

    `clusters` are the names of all that there are. Endpoints are numbers and addresses, which compile itself checks.
    """
    proto = Bootstrap(node=Node(id="prove", cluster="prove"))
    static = proto.static_resources
    for name in sorted({*clusters, *BOOTSTRAP_CLUSTERS}):
        static.clusters.append(_stub(name))
    for number, resource in enumerate(resources, start=1):
        match resource.type_url:
            case kinds.CLUSTER:
                static.clusters.append(_cluster(resource, number))
            case kinds.LISTENER:
                static.listeners.append(_listener(resource, number))
            case kinds.ROUTE:
                static.listeners.append(_routed(resource, number))
    return serialize(proto)


def as_static(cluster: Cluster, endpoints: ClusterLoadAssignment | None = None) -> None:
    """Have a cluster know its endpoints (without any: a made-up one), where it would ask for them."""
    if cluster.type == Cluster.DiscoveryType.EDS:
        cluster.type = Cluster.DiscoveryType.STATIC
        cluster.ClearField("eds_cluster_config")
        cluster.load_assignment.CopyFrom(endpoints or one_host(cluster.name, _HOST))


def inline(listener: Listener, routes: Callable[[str], RouteConfiguration]) -> None:
    """Have a listener know its routes, where it would ask for them."""
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for one in chain.filters:
            manager = HttpConnectionManager()
            if one.typed_config.Unpack(manager) and manager.HasField("rds"):
                manager.route_config.CopyFrom(routes(manager.rds.route_config_name))
                one.typed_config.CopyFrom(pack(manager))


def _stub(name: str) -> Cluster:
    return Cluster(name=name, type=Cluster.DiscoveryType.STATIC, load_assignment=one_host(name, _HOST))


def _cluster(resource: Resource, number: int) -> Cluster:
    cluster = Cluster.FromString(resource.body)
    as_static(cluster)
    cluster.name = _apart(resource.name, number)
    return cluster


def _listener(resource: Resource, number: int) -> Listener:
    listener = Listener.FromString(resource.body)
    inline(listener, lambda name: RouteConfiguration(name=name))
    listener.name = _apart(resource.name, number)
    listener.address.CopyFrom(_address(number))
    return listener


def _routed(resource: Resource, number: int) -> Listener:
    """Return a listener that does nothing but route."""
    routes = RouteConfiguration.FromString(resource.body)
    manager = HttpConnectionManager(stat_prefix="prove", route_config=routes, http_filters=[router()])
    chain = FilterChain(filters=[network_filter(manager)])
    return Listener(name=_apart(resource.name, number), address=_address(number), filter_chains=[chain])


def _apart(name: str, number: int) -> str:
    """Return a name that nothing else in the file has, as nodes use the same ones for different things."""
    return f"{name} #{number}"


def _address(number: int) -> Address:
    """Return an address that no other listener in the file has; none is bound."""
    return tcp(f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1)
