"""Clusters of servers outside of the mesh: found by name, and over TLS verified as what they are called."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh import names
from xds_server.compile.address import one_host, tcp
from xds_server.compile.circuit_breaker import thresholds
from xds_server.compile.cluster import CONNECT_TIMEOUT
from xds_server.compile.pack import duration, pack
from xds_server.compile.tls import TRANSPORT_SOCKET, tls_1_2

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and its children keep the CAs that the machine trusts."""


def outside_cluster(name: str, host: str, port: int, tls: TransportSocket | None = None) -> Cluster:
    """Return the cluster of a server that is no part of the mesh."""
    is_address = names.is_ip(host)
    return Cluster(
        name=name,
        alt_stat_name=names.stat_name(name),
        type=Cluster.DiscoveryType.STATIC if is_address else Cluster.DiscoveryType.STRICT_DNS,
        connect_timeout=duration(CONNECT_TIMEOUT),
        # many a machine knows IPv6 addresses that it has no road to
        dns_lookup_family=Cluster.DnsLookupFamily.V4_PREFERRED,
        load_assignment=one_host(name, tcp(host, port)),
        circuit_breakers=thresholds(),
        transport_socket=tls,
    )


def verified(host: str, ca: str | None = None, alpn: tuple[str, ...] = ()) -> TransportSocket:
    """Return TLS to a server that must be called `host`, by the machine's CAs or those of a file."""
    is_address = names.is_ip(host)
    kind = SubjectAltNameMatcher.SanType.IP_ADDRESS if is_address else SubjectAltNameMatcher.SanType.DNS
    context = CertificateValidationContext(
        trusted_ca=DataSource(filename=ca or SYSTEM_CA),
        match_typed_subject_alt_names=[SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=host))],
    )
    common = CommonTlsContext(
        tls_params=tls_1_2(),
        alpn_protocols=alpn,
        validation_context=context,
    )
    config = pack(UpstreamTlsContext(common_tls_context=common, sni="" if is_address else host))
    return TransportSocket(name=TRANSPORT_SOCKET, typed_config=config)
