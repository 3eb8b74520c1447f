"""`passthrough` for an Envoy before 1.40, which cannot look at the host of each try, but at a name's first address.

When nobody answers there, such an Envoy goes on to the name's next address, and no filter sees that one.
"""

from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from xds_server.compile.listener import Chain
from xds_server.compile.pack import duration, pack
from xds_server.compile.passthrough import (
    RESOLVE,
    as_chain,
    dynamic_cluster,
    not_inside,
    passthrough_manager,
    passthrough_routes,
)

_MOST_NAMES = 1024
"""Names that a proxy knows the addresses of at once; whatever an app asks for, memory is bounded."""


def first_address_cluster() -> Cluster:
    """Return the cluster of whatever a request names, for such an Envoy."""
    return dynamic_cluster(names.PASSTHROUGH_FIRST, ClusterConfig(dns_cache_config=_cache()))


def first_address_chain(mesh: Mesh, service: str) -> Chain:
    """Return what a service's listeners for it share; they have the routes in them."""
    find = FilterConfig(dns_cache_config=_cache(), save_upstream_address=True)
    filters = [HttpFilter(name=RESOLVE, typed_config=pack(find)), not_inside("envoy.filters.http.rbac")]
    manager = passthrough_manager(mesh, service, filters)
    manager.route_config.CopyFrom(passthrough_routes(names.PASSTHROUGH_FIRST))
    manager.route_config.validate_clusters.value = False  # as of routes that come over ADS
    return as_chain(manager)


def _cache() -> DnsCacheConfig:
    """Return how names are looked up; the same at both places, which is how Envoy knows that one is meant."""
    return DnsCacheConfig(
        name=names.PASSTHROUGH,
        dns_lookup_family=Cluster.DnsLookupFamily.V4_PREFERRED,
        host_ttl=duration(timedelta(minutes=5)),
        max_hosts=UInt32Value(value=_MOST_NAMES),
    )
