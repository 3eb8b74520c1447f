"""The listener in front of an app: mTLS, access control, and a word to the caller when the app cannot be reached."""

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions, HttpProtocolOptions
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Protocol, Service
from xds_server.compile import tls
from xds_server.compile.access_log import writer
from xds_server.compile.access_once import ACCESS, RBAC, deciding_filters
from xds_server.compile.active_health_check import answering
from xds_server.compile.ask import asking_filters, token_filters
from xds_server.compile.connection_limit import limit
from xds_server.compile.forged import forged
from xds_server.compile.global_rate_limit import global_limits
from xds_server.compile.http import connection_manager
from xds_server.compile.listener import HELLO_LIMIT, Chain, http_chain, listener, shared
from xds_server.compile.pack import duration, pack
from xds_server.compile.permissive import ENCRYPTED, PLAIN, count_plaintext
from xds_server.compile.rate_limit import rate_limits
from xds_server.compile.rbac import Callers, access, reads_claims, restricts_paths
from xds_server.compile.retry import APP_UNREACHABLE, RETRY_HEADER
from xds_server.compile.revoked import revoked_filters
from xds_server.compile.shadow import shadow
from xds_server.compile.tracing import operation, trace
from xds_server.compile.websocket import accept_websockets, socket_paths

_DROP = HttpProtocolOptions.HeadersWithUnderscoresAction.DROP_HEADER
_MOST_HEADERS, _MOST_HEADERS_KB = 150, 80
"""More than the 100 and 60 kB that Envoy takes of a client: proxies add their own, and the first one says 431."""


def inbound_chain(mesh: Mesh, name: str, allowed: Callers, life: timedelta) -> Chain:
    """Return what the inbound listeners of a service's instances share."""
    service = mesh.services[name]
    first = limit(service.connections.max_connections)
    tokens = token_filters(name, service, with_claims=reads_claims(allowed))
    asked = answering(service.active_health_check)
    deciding = allowed if service.access.mode == "enforce" else {}
    once = deciding_filters(mesh.trust_domain, service, allowed)
    access = _access(service, mesh.trust_domain, allowed, ACCESS if once else RBAC)
    manager = _manager(mesh, name, deciding, life, [*revoked_filters(), *asked, *tokens, access])
    chains = [http_chain(manager, tls.downstream(), ENCRYPTED, first, once)]
    if mesh.is_permissive(name):
        # whoever sends plain text has no name that could be looked up in `calls`
        plain = _manager(mesh, name, {}, life, tokens)
        plain.access_log.append(count_plaintext())
        chains.append(http_chain(plain, None, PLAIN, first))
    return shared(chains, names.INBOUND, "INBOUND", inspect=HELLO_LIMIT)


def _access(service: Service, trust_domain: str, allowed: Callers, name: str) -> HttpFilter:
    deciding = access if service.access.mode == "enforce" else shadow
    return HttpFilter(name=name, typed_config=pack(deciding(trust_domain, allowed)))


def _manager(
    mesh: Mesh, name: str, deciding: Callers, life: timedelta, decided: Iterable[HttpFilter]
) -> HttpConnectionManager:
    """Return one with the filters `decided`; `deciding` is what callers may do where that is enforced."""
    service = mesh.services[name]
    limits = [*rate_limits(service.rate_limit), *global_limits(name, mesh.mesh, service.rate_limit)]
    filters = [*decided, *asking_filters(service), *limits]
    not_taken = forged(service, deciding.values())
    manager = connection_manager(mesh, "inbound", names.INBOUND, names.INBOUND, name, filters, forbidden=not_taken)
    if socket_paths(mesh, name):
        accept_websockets(manager)
    trace(manager, mesh.tracing, name, operation(service.protocol, name), inbound=True)
    manager.MergeFrom(_peer_options(life, service.protocol))
    if service.ext_authz is not None:
        # what that server adds, under whatever names, no other spelling may stand beside: an app may know both as one
        manager.common_http_protocol_options.headers_with_underscores_action = _DROP
    if restricts_paths(deciding):
        # An app may read %2F as a slash after we have matched the path without doing so.
        manager.path_with_escaped_slashes_action = HttpConnectionManager.PathWithEscapedSlashesAction.REJECT_REQUEST
    return manager


def inbound_listener(node: InstanceSpec, chain: Chain, plain_port: int | None = None) -> tuple[bytes, bytes]:
    """Return the one listener, serialised, through which peers reach this instance.

    `plain_port` is the service's own, where callers that know of no mesh reach it while it is permissive.
    """
    more = [(address, plain_port) for address in node.plain_addresses] if plain_port else []
    return listener(names.INBOUND, (node.address, node.port), chain, writer(node), more)


def _peer_options(connection_life: timedelta, protocol: Protocol) -> HttpConnectionManager:
    """Return what holds for peers: the caller's identity for the app, and connections that end with certificates."""
    return HttpConnectionManager(
        forward_client_cert_details=HttpConnectionManager.ForwardClientCertDetails.SANITIZE_SET,
        set_current_client_cert_details=HttpConnectionManager.SetCurrentClientCertDetails(uri=True),
        common_http_protocol_options=HttpProtocolOptions(
            max_connection_duration=duration(connection_life), max_headers_count=UInt32Value(value=_MOST_HEADERS)
        ),
        max_request_headers_kb=UInt32Value(value=_MOST_HEADERS_KB),
        http1_safe_max_connection_duration=True,
        # one request that is malformed may not end a peer's connection, with all that others have asked on it
        http2_protocol_options=Http2ProtocolOptions(
            override_stream_error_on_invalid_http_message=BoolValue(value=True)
        ),
        local_reply_config=LocalReplyConfig(mappers=[_app_unreachable(protocol)]),
        use_remote_address=BoolValue(value=False),
    )


def _app_unreachable(protocol: Protocol) -> ResponseMapper:
    """Mark the answer to a request that no app got: it refused to connect (flag UF), or none is there (UH).

    Over HTTP/2 it may have refused the stream, as often as that was tried (URX: there all that is tried again here
    is what no app has taken). Callers try again, POSTs too, as `RETRY_HEADER` is in their retriable headers.
    """
    flags = ["UF", "UH"] if protocol == "http" else ["UF", "UH", "URX"]
    header = HeaderValueOption(
        header=HeaderValue(key=RETRY_HEADER, value=APP_UNREACHABLE),
        append_action=HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return ResponseMapper(
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=flags)), headers_to_add=[header]
    )
