"""Requests to servers that mesh.yaml does not name: refused by the caller's own proxy, which says why and counts them.

They are those that no route is for: Envoy's `http.blocked.no_route`, and in containers
`http.outbound__<port>.no_route`.
"""

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    LocalReplyConfig,
    ResponseMapper,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from xds_server.compile.http import connection_manager
from xds_server.compile.listener import Chain, chain
from xds_server.compile.tracing import operation, trace

_WAY_OUT = (
    "mesh.yaml names no such server: name it in external and in this service's calls, "
    "or set passthrough: true to let it call any\n"
)


def no_route(status: int, text: str) -> ResponseMapper:
    """Return what answers requests that no route is for."""
    return ResponseMapper(
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NR"])),
        status_code=UInt32Value(value=status),
        body=DataSource(inline_string=text),
    )


def blocked_chain(mesh: Mesh, service: str) -> Chain:
    """Return what a service's listeners share that stand where `passthrough` has its proxy: it leads nowhere."""
    prefix = names.BLOCKED_STAT_PREFIX
    manager = connection_manager(mesh, "outbound", prefix, names.PASSTHROUGH, service)
    manager.route_config.CopyFrom(RouteConfiguration(name=names.PASSTHROUGH))
    manager.http_protocol_options.CopyFrom(Http1ProtocolOptions(accept_http_10=True))
    manager.upgrade_configs.append(HttpConnectionManager.UpgradeConfig(upgrade_type="CONNECT"))
    manager.local_reply_config.CopyFrom(LocalReplyConfig(mappers=[no_route(403, _WAY_OUT)]))
    trace(manager, mesh.tracing, service, operation("http", "outside"))
    return chain(manager, "OUTBOUND")
