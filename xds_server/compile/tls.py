"""mTLS with SPIFFE identities: both ends of every connection between two proxies, and to xds_server.

Keys and CAs come by SDS from certmgr's socket; what the peer must be called is ours to say.
TLS 1.3 only, and no resumption: a ticket would let an expired certificate in again.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from legation.mesh import names
from xds_server.compile.grpc_service import grpc_service
from xds_server.compile.pack import duration, pack

_NOBODY = "spiffe://nobody.invalid/nobody"
"""No peer has it, where an empty list would let everybody in (RFC 2606 §2)."""

TRANSPORT_SOCKET = "envoy.transport_sockets.tls"

_TLS_1_2_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Those of Mozilla's "intermediate" that BoringSSL has; TLS 1.3 has no others."""

_FOR_EVER = timedelta(0)
_EDGE_WAIT = timedelta(seconds=5)


def downstream() -> TransportSocket:
    """Return the server's end: a client certificate of the mesh's CA is required; RBAC says whose."""
    context = CommonTlsContext(
        alpn_protocols=["h2", "http/1.1"], validation_context_sds_secret_config=_secret(names.MESH_CA)
    )
    return _server(context)


def downstream_for(spiffe_ids: Sequence[str]) -> TransportSocket:
    """Return the server's end for connections: already in the handshake the peer must be one of these.

    Envoy's RBAC decides when a first byte comes; a server that speaks first would have spoken by then.
    """
    return _server(CommonTlsContext(combined_validation_context=_expecting(spiffe_ids or [_NOBODY])))


def _server(context: CommonTlsContext) -> TransportSocket:
    context.tls_params.CopyFrom(_tls_1_3())
    context.tls_certificate_sds_secret_configs.append(_secret(names.MESH_CERT))
    return _socket(
        DownstreamTlsContext(
            common_tls_context=context,
            require_client_certificate=BoolValue(value=True),
            disable_stateless_session_resumption=True,
            disable_stateful_session_resumption=True,
        )
    )


def edge(secret: str, alpn: Sequence[str]) -> TransportSocket:
    """Return the gateway's end towards clients that nobody knows: TLS 1.2 and 1.3, forward secrecy, AEAD alone.

    Its certificate may be missing as others are not: after a while the listener opens without it.
    """
    context = CommonTlsContext(
        tls_params=tls_1_2(_TLS_1_2_CIPHERS),
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[_secret(secret, _EDGE_WAIT)],
    )
    return _socket(DownstreamTlsContext(common_tls_context=context))


def upstream(spiffe_ids: Iterable[str], sni: str, alpn: Sequence[str] = ("h2",)) -> TransportSocket:
    """Return the client's end: the peer must present exactly this SPIFFE ID, or one of these."""
    return _socket(
        UpstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_params=_tls_1_3(),
                alpn_protocols=alpn,
                tls_certificate_sds_secret_configs=[_secret(names.MESH_CERT)],
                combined_validation_context=_expecting(spiffe_ids),
            ),
            sni=sni,
            max_session_keys=UInt32Value(value=0),
        )
    )


def _expecting(spiffe_ids: Iterable[str]) -> CommonTlsContext.CombinedCertificateValidationContext:
    expected = [
        SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.SanType.URI, matcher=StringMatcher(exact=spiffe_id))
        for spiffe_id in spiffe_ids
    ]
    return CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=expected),
        validation_context_sds_secret_config=_secret(names.MESH_CA),
    )


def _socket(context: Message) -> TransportSocket:
    return TransportSocket(name=TRANSPORT_SOCKET, typed_config=pack(context))


def tls_1_2(ciphers: Sequence[str] = ()) -> TlsParameters:
    """Allow TLS 1.2 and 1.3, for peers that are not of the mesh; `ciphers` of 1.2, Envoy's own where none are given."""
    return TlsParameters(
        tls_minimum_protocol_version=TlsParameters.TlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=TlsParameters.TlsProtocol.TLSv1_3,
        cipher_suites=ciphers,
    )


def _tls_1_3() -> TlsParameters:
    """Pin both ends: Envoy's upstream default stops at TLS 1.2."""
    version = TlsParameters.TlsProtocol.TLSv1_3
    return TlsParameters(tls_minimum_protocol_version=version, tls_maximum_protocol_version=version)


def _secret(name: str, wait: timedelta = _FOR_EVER) -> SdsSecretConfig:
    """Name a secret of certmgr's socket; byte for byte the same everywhere, so that Envoy opens one stream for it.

    Of the mesh's own without a fetch timeout: a listener without a certificate stays unbound instead of
    resetting its clients.
    """
    source = ApiConfigSource(
        api_type=ApiConfigSource.ApiType.DELTA_GRPC,
        transport_api_version=ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[grpc_service(names.SDS_CLUSTER)],
    )
    config = ConfigSource(
        api_config_source=source, resource_api_version=ApiVersion.V3, initial_fetch_timeout=duration(wait)
    )
    return SdsSecretConfig(name=name, sds_config=config)
