"""`external` to what a caller's proxy needs: a cluster over verified TLS, routes, and a listener for the app."""

from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from legation.mesh import names
from legation.mesh.model.connections import Connections
from legation.mesh.model.external import External
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.retry import RetryPolicy
from xds_server.compile.cluster import HTTP_OPTIONS, http2
from xds_server.compile.listener import Chain
from xds_server.compile.outbound import outbound_chain
from xds_server.compile.outside import outside_cluster, verified
from xds_server.compile.pack import duration, pack
from xds_server.compile.retry import outside_policy
from xds_server.compile.strict import refusing
from xds_server.compile.tcp import tcp_chain

TIMEOUT = timedelta(seconds=15)
_RETRY = RetryPolicy(num_retries=2, methods=())
"""Of requests that the server cannot have seen: nobody else is there to answer, so it is not waited for long."""


def external_cluster(name: str, asked: External) -> Cluster:
    """Return the cluster of a server outside, the same for each of its callers."""
    alpn = {"http": ("http/1.1",), "http2": ("h2",), "tcp": ()}[asked.protocol]
    cluster = outside_cluster(name, asked.host, asked.port, verified(asked.host, asked.ca, alpn) if asked.tls else None)
    if asked.protocol != "tcp":
        cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(_options(asked)))
    return cluster


def external_routes(name: str, asked: External) -> RouteConfiguration:
    """Return the routes to it: every request, under its own host's name."""
    host = asked.host if asked.port in (80, 443) else f"{asked.host}:{asked.port}"
    action = components.RouteAction(
        cluster=name,
        host_rewrite_literal=host,
        timeout=duration(TIMEOUT),
        retry_policy=outside_policy(_RETRY, TIMEOUT),
    )
    route = components.Route(name=f"{name}.default", match=components.RouteMatch(prefix="/"), route=action)
    hosts = [components.VirtualHost(name=name, domains=["*"], routes=refusing([route]))]
    return RouteConfiguration(name=name, virtual_hosts=hosts)


def external_chain(mesh: Mesh, name: str, service: str) -> Chain:
    """Return what a service's listeners for it share."""
    asked = mesh.external[name]
    if asked.protocol == "tcp":
        return tcp_chain(names.outbound_stat_prefix(name), name, service, Connections())
    return outbound_chain(mesh, name, service)


def _options(asked: External) -> HttpProtocolOptions:
    config = HttpProtocolOptions.ExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    if asked.protocol == "http2":
        config = http2()
    return HttpProtocolOptions(explicit_http_config=config)
