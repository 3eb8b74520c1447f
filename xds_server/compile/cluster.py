"""Clusters: a called service or one version of it (EDS over ADS, mTLS), and the proxy's own app."""

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
)
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions as CommonOptions
from envoy.extensions.clusters.common.dns.v3.dns_pb2 import DnsLookupFamily
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.connections import Connections
from legation.mesh.model.service import Protocol, Service
from xds_server.compile import tls
from xds_server.compile.active_health_check import asking
from xds_server.compile.address import one_host, tcp
from xds_server.compile.circuit_breaker import thresholds
from xds_server.compile.load_balancing import balance
from xds_server.compile.outlier_detection import detection
from xds_server.compile.pack import duration, pack

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CONNECT_TIMEOUT = timedelta(seconds=2)
BUFFER_LIMIT = 1 << 20
"""Bytes. A request that is larger cannot be repeated, as Envoy no longer holds all of it."""

APP_LOOK = timedelta(milliseconds=500)
"""Between looks for the apps behind a name."""

APP_CONNECT_TIMEOUT = timedelta(milliseconds=500)
"""For those: one that has ended is silent, and until it is no longer found a request waits for this."""

APP_IDLE_TIMEOUT = timedelta(seconds=4)
"""Below the 5 s after which Node.js closes an idle connection: a request must never meet that close."""


def service_cluster(name: str, to: str, service: Service, identities: Iterable[str], life: timedelta) -> Cluster:
    """Return the cluster of the called service `to`, the same for each of its callers.

    `identities` are whose certificates may answer; `life` bounds how long a connection outlives the
    certificates that it was made with.
    """
    asked = service.connections
    cluster = Cluster(
        name=name,
        alt_stat_name=names.stat_name(name),
        type=Cluster.DiscoveryType.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=ads()),
        connect_timeout=duration(asked.connect_timeout),
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        circuit_breakers=thresholds(service.circuit_breaker),
        transport_socket=tls.upstream(identities, to, () if service.protocol == "tcp" else ("h2",)),
    )
    if service.protocol != "tcp":
        cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(_peer_options(asked, life)))
    if service.active_health_check is not None:
        cluster.health_checks.extend(asking(to, service.active_health_check))
        # else an endpoint that is withdrawn stays as long as its proxy answers
        cluster.ignore_health_on_host_removal = True
    balance(cluster, service.load_balancing)
    if service.outlier_detection is not None:
        cluster.outlier_detection.CopyFrom(detection(service.outlier_detection))
    return cluster


def app_cluster(address: str, port: int, protocol: Protocol) -> Cluster:
    """Return the cluster of the proxy's own app: plain HTTP/1.1, or HTTP/2 with prior knowledge for gRPC.

    `address` may be a name, for what are any number of apps: they come and go as it is resolved.
    """
    cluster = Cluster(
        name=names.LOCAL_APP,
        alt_stat_name=names.own_stat_name(names.LOCAL_APP),
        type=Cluster.DiscoveryType.STATIC,
        connect_timeout=duration(CONNECT_TIMEOUT),
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        load_assignment=one_host(names.LOCAL_APP, tcp(address, port)),
        circuit_breakers=thresholds(),
    )
    if not names.is_ip(address):
        _resolve(cluster)
    if protocol != "tcp":
        cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(_app_options(protocol)))
    return cluster


def _resolve(cluster: Cluster) -> None:
    """Have the apps behind a name looked for often, whatever its answers' life: docker says ten minutes.

    Where none is well all are asked, as one that is ill may still answer.
    """
    looked_for = DnsCluster(dns_refresh_rate=duration(APP_LOOK), dns_lookup_family=DnsLookupFamily.V4_ONLY)
    cluster.cluster_type.CopyFrom(Cluster.CustomClusterType(name="envoy.clusters.dns", typed_config=pack(looked_for)))
    cluster.connect_timeout.CopyFrom(duration(APP_CONNECT_TIMEOUT))
    cluster.wait_for_warm_on_init.value = False  # the app may start after its sidecar, which is ready without it
    cluster.ignore_health_on_host_removal = True
    cluster.common_lb_config.healthy_panic_threshold.value = 1


def keepalive() -> Http2ProtocolOptions:
    """Return HTTP/2 with pings: a peer whose host dies sends no FIN."""
    interval, timeout = duration(timedelta(seconds=10)), duration(timedelta(seconds=5))
    return Http2ProtocolOptions(connection_keepalive=KeepaliveSettings(interval=interval, timeout=timeout))


def http2() -> HttpProtocolOptions.ExplicitHttpConfig:
    """Return a cluster's choice of that, whatever the other end would offer."""
    return HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=keepalive())


def ads() -> ConfigSource:
    """Return the source of everything that comes over the one aggregated stream."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def _peer_options(asked: Connections, life: timedelta) -> HttpProtocolOptions:
    common = CommonOptions(max_connection_duration=duration(min(life, asked.max_duration or life)))
    if asked.idle_timeout is not None:
        common.idle_timeout.CopyFrom(duration(asked.idle_timeout))
    if asked.max_requests_per_connection is not None:
        common.max_requests_per_connection.CopyFrom(UInt32Value(value=asked.max_requests_per_connection))
    return HttpProtocolOptions(
        common_http_protocol_options=common,
        explicit_http_config=http2(),
    )


def _app_options(protocol: Protocol) -> HttpProtocolOptions:
    if protocol in ("grpc", "http2"):
        http2 = HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
        return HttpProtocolOptions(explicit_http_config=http2)
    return HttpProtocolOptions(
        common_http_protocol_options=CommonOptions(idle_timeout=duration(APP_IDLE_TIMEOUT)),
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
