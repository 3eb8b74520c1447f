"""`passthrough` to an HTTP proxy for a service's own app: it leads to servers that mesh.yaml does not name.

An app asks it as it asks any HTTP proxy: with a whole URL, or with CONNECT for TLS (RFC 9110 §9.3.6), which stays
the app's own from end to end. The mesh's name and certificates are not shown to anybody there, and what is on this
host, or belongs to proxies, is not behind it.

A name may have several addresses, and Envoy's cluster for any name tries one after the other (happy eyeballs), where
no filter looks again. So each name has a cluster of its own, in which each address is a host, and the router looks at
the host of each try. What an older Envoy gets instead is in `first_address.py`.
"""

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig, SubClustersConfig
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import (
    FilterConfig,
    SubClusterConfig,
)
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has two RBACs
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.rbac.matchers.upstream_ip_port.v3.upstream_ip_port_matcher_pb2 import UpstreamIpPortMatcher
from envoy.type.v3.range_pb2 import Int64Range
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.retry import RetryPolicy
from xds_server.compile.apart import count_given_up
from xds_server.compile.circuit_breaker import thresholds
from xds_server.compile.cluster import CONNECT_TIMEOUT
from xds_server.compile.http import IDLE_TIMEOUT, connection_manager, network_filter
from xds_server.compile.listener import Chain, shared
from xds_server.compile.pack import duration, pack
from xds_server.compile.retry import outside_policy
from xds_server.compile.strict import refusing
from xds_server.compile.tracing import operation, trace

_CONNECT = "CONNECT"
DYNAMIC = "envoy.clusters.dynamic_forward_proxy"
RESOLVE = "envoy.filters.http.dynamic_forward_proxy"
_MOST_NAMES = 512
"""Names (each with its port) that a proxy leads to at once: 44 kB each, so 22 MB, whatever an app asks for."""

_FORGOTTEN_AFTER = timedelta(minutes=1)
"""Of a name that no request begins for; until then its addresses are looked up anew, as those of `external` are."""

_INSIDE = ("127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "::1/128", "::/128", "fe80::/10", "::ffff:0.0.0.0/96")
"""This host, what a cloud tells its machines about themselves (link-local), and IPv4 in disguise (RFC 4291)."""

_OF_PROXIES = Int64Range(start=names.INBOUND_PORT, end=names.OUTBOUND_PORT_BASE + 1000)
"""Where sidecars and our own services listen: whose listener an app reached, it would call as."""

_FOR_EVER = timedelta(0)
_LOOK_UP = timedelta(seconds=5)
"""How long a request waits for the addresses of a name, as by Envoy's own default."""

_OTHER_ADDRESSES = RetryPolicy.model_construct(
    num_retries=2, base_interval=timedelta(milliseconds=25), max_interval=timedelta(milliseconds=25), methods=()
)
"""What a connection could not be made for goes to another address of its name."""


def passthrough_cluster() -> Cluster:
    """Return the cluster of whatever a request names."""
    each = SubClustersConfig(
        lb_policy=Cluster.LbPolicy.ROUND_ROBIN,
        max_sub_clusters=UInt32Value(value=_MOST_NAMES),
        sub_cluster_ttl=duration(_FORGOTTEN_AFTER),
    )
    return dynamic_cluster(names.PASSTHROUGH, ClusterConfig(sub_clusters_config=each))


def dynamic_cluster(name: str, config: ClusterConfig) -> Cluster:
    """Return a cluster of whatever a request names, which in metrics and the access log is `passthrough`."""
    return Cluster(
        name=name,
        alt_stat_name=names.stat_name(names.PASSTHROUGH),
        connect_timeout=duration(CONNECT_TIMEOUT),
        dns_lookup_family=Cluster.DnsLookupFamily.V4_PREFERRED,
        lb_policy=Cluster.LbPolicy.CLUSTER_PROVIDED,
        cluster_type=Cluster.CustomClusterType(name=DYNAMIC, typed_config=pack(config)),
        circuit_breakers=thresholds(),
    )


def passthrough_routes(cluster: str = names.PASSTHROUGH) -> RouteConfiguration:
    """Return its routes: every request as it is, for as long as it takes."""
    tunnel = components.RouteAction.UpgradeConfig(
        upgrade_type=_CONNECT, connect_config=components.RouteAction.UpgradeConfig.ConnectConfig()
    )
    matches = (
        (components.RouteMatch(connect_matcher=components.RouteMatch.ConnectMatcher()), (tunnel,)),
        (components.RouteMatch(prefix="/"), ()),
    )
    routes = [
        components.Route(
            name=f"{names.PASSTHROUGH}.{index}",
            match=match,
            route=components.RouteAction(
                cluster=cluster,
                timeout=duration(_FOR_EVER),
                retry_policy=outside_policy(_OTHER_ADDRESSES, _FOR_EVER),
                idle_timeout=duration(IDLE_TIMEOUT),
                upgrade_configs=upgrades,
            ),
        )
        for index, (match, upgrades) in enumerate(matches)
    ]
    host = components.VirtualHost(name=names.PASSTHROUGH, domains=["*"], routes=refusing(routes))
    return RouteConfiguration(name=names.PASSTHROUGH, virtual_hosts=[host])


def passthrough_chain(mesh: Mesh, service: str) -> Chain:
    """Return what a service's listeners for it share."""
    manager = passthrough_manager(mesh, service, [_resolve()])
    _look_at_each_try(manager)
    return as_chain(manager)


def passthrough_manager(mesh: Mesh, service: str, filters: Iterable[HttpFilter]) -> HttpConnectionManager:
    """Return the manager of an HTTP proxy; the filters find where a request leads."""
    prefix = names.outbound_stat_prefix(names.PASSTHROUGH)
    manager = connection_manager(mesh, "outbound", prefix, names.PASSTHROUGH, service, filters)
    manager.access_log.append(count_given_up(prefix))
    manager.http_protocol_options.CopyFrom(Http1ProtocolOptions(accept_http_10=True))
    manager.upgrade_configs.append(HttpConnectionManager.UpgradeConfig(upgrade_type=_CONNECT))
    trace(manager, mesh.tracing, service, operation("http", "outside"))
    return manager


def as_chain(manager: HttpConnectionManager) -> Chain:
    """Return its chain, without the filter for the lines of HTTP/1: what a tunnel carries is no HTTP to it."""
    return shared([FilterChain(filters=[network_filter(manager)])], manager.stat_prefix, "OUTBOUND")


def _resolve() -> HttpFilter:
    config = FilterConfig(sub_cluster_config=SubClusterConfig(cluster_init_timeout=duration(_LOOK_UP)))
    return HttpFilter(name=RESOLVE, typed_config=pack(config))


def _look_at_each_try(manager: HttpConnectionManager) -> None:
    """Have the router deny by the host of each of its tries, before a byte of the request is sent there."""
    config, router = Router(), manager.http_filters[-1]
    router.typed_config.Unpack(config)
    codec = HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=pack(UpstreamCodec()))
    config.upstream_http_filters.extend([not_inside("envoy.filters.http.upstream_rbac"), codec])
    router.typed_config.CopyFrom(pack(config))


def not_inside(name: str) -> HttpFilter:
    """Deny by the address that was found: a name says nothing about where it leads."""
    matchers = [UpstreamIpPortMatcher(upstream_ip=_range(text)) for text in _INSIDE]
    matchers.append(UpstreamIpPortMatcher(upstream_port_range=_OF_PROXIES))
    inside = [
        Permission(matcher=TypedExtensionConfig(name="envoy.rbac.matchers.upstream_ip_port", typed_config=pack(m)))
        for m in matchers
    ]
    policy = Policy(permissions=inside, principals=[Principal(any=True)])
    rules = RBAC(action=RBAC.Action.DENY, policies={"inside": policy})
    return HttpFilter(name=name, typed_config=pack(RbacFilter(rules=rules)))


def _range(text: str) -> CidrRange:
    address, _, length = text.partition("/")
    return CidrRange(address_prefix=address, prefix_len=UInt32Value(value=int(length)))
