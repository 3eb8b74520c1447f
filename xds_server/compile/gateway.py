"""How the gateway takes requests from the world outside of the mesh (Envoy: edge best practices)."""

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions, HttpProtocolOptions
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from xds_server.compile.http import connection_manager
from xds_server.compile.pack import duration
from xds_server.compile.tracing import FROM_OUTSIDE, operation, trace
from xds_server.compile.unavailable import unavailable

_MAX_STREAMS = 100
_STREAM_WINDOW = 64 * 1024
_CONNECTION_WINDOW = 1024 * 1024


def edge_manager(
    mesh: Mesh, stat_prefix: str, routes: str, about: str, filters: Iterable[HttpFilter] = ()
) -> HttpConnectionManager:
    """Return what takes requests from outside; its own answers speak of `about`."""
    tracing = mesh.tracing
    begun = FROM_OUTSIDE if tracing and tracing.from_outside == "ignore" else ()
    mutations = [HeaderMutation(remove=header) for header in begun]
    manager = connection_manager(mesh, "gateway", stat_prefix, routes, names.GATEWAY, filters, mutations)
    trace(manager, tracing, names.GATEWAY, operation("http", about), edge=True)
    manager.MergeFrom(_edge_options(about))
    # What an app is built with is nobody's business out there.
    manager.server_header_transformation = HttpConnectionManager.ServerHeaderTransformation.OVERWRITE
    return manager


def _edge_options(service: str) -> HttpConnectionManager:
    """Return what guards against clients that nobody knows."""
    return HttpConnectionManager(
        use_remote_address=BoolValue(value=True),
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManager.PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
        request_headers_timeout=duration(timedelta(seconds=10)),
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=duration(timedelta(hours=1)),
            headers_with_underscores_action=HttpProtocolOptions.HeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=UInt32Value(value=_MAX_STREAMS),
            initial_stream_window_size=UInt32Value(value=_STREAM_WINDOW),
            initial_connection_window_size=UInt32Value(value=_CONNECTION_WINDOW),
        ),
        local_reply_config=_replies(service),
    )


def _replies(service: str) -> LocalReplyConfig:
    """Return the bodies of the answers that the gateway makes itself, for people to read."""
    bodies = {
        "UH": f"{service} has no instance that takes requests now",
        "UF": f"{service} cannot be reached now",
        "UT": f"{service} did not answer in time",
        "URX": f"{service} cannot be reached now",
    }
    no_route = ResponseMapper(
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NR"])),
        body=DataSource(inline_string=f"no route of {service} matches this request"),
    )
    reply = SubstitutionFormatString(
        text_format_source=DataSource(
            inline_string="%RESPONSE_CODE%: %LOCAL_REPLY_BODY% (request %REQ(X-REQUEST-ID)%)\n"
        )
    )
    return LocalReplyConfig(mappers=[no_route, *unavailable(bodies)], body_format=reply)
