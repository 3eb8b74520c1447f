"""Clusters: a called service or one version of it (EDS over ADS, mTLS), and the proxy's own app."""

from datetime import timedelta

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
)
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions as CommonOptions
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.model.load_balancing import Policy
from legation.mesh.model.service import Protocol
from xds_server.compile import tls
from xds_server.compile.address import one_host, tcp
from xds_server.compile.pack import duration, pack

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CONNECT_TIMEOUT = timedelta(seconds=2)
BUFFER_LIMIT = 1 << 20
"""Bytes. A request that is larger cannot be repeated, as Envoy no longer holds all of it."""

APP_IDLE_TIMEOUT = timedelta(seconds=4)
"""Below the 5 s after which Node.js closes an idle connection: a request must never meet that close."""

NO_LIMIT = 1_000_000
"""What no breaker of ours reaches: Envoy's defaults of 1024 (and 3 retries) would bind a mesh that asked for none."""

_POLICIES: dict[Policy, "Cluster.LbPolicy.ValueType"] = {
    "round_robin": Cluster.LbPolicy.ROUND_ROBIN,
    "least_request": Cluster.LbPolicy.LEAST_REQUEST,
    "random": Cluster.LbPolicy.RANDOM,
    "ring_hash": Cluster.LbPolicy.RING_HASH,
    "maglev": Cluster.LbPolicy.MAGLEV,
}


def service_cluster(name: str, sni: str, spiffe_id: str, policy: Policy, connection_life: timedelta) -> Cluster:
    """Return the cluster of a called service, the same for each of its callers.

    `connection_life` bounds how long a connection outlives the certificates it was made with.
    """
    options = HttpProtocolOptions(
        common_http_protocol_options=CommonOptions(max_connection_duration=duration(connection_life)),
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=keepalive()),
    )
    return Cluster(
        name=name,
        alt_stat_name=names.stat_name(name),
        type=Cluster.DiscoveryType.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=ads()),
        connect_timeout=duration(CONNECT_TIMEOUT),
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        lb_policy=_POLICIES[policy],
        # Which unhealthy hosts still get requests is decided once, in endpoint.py.
        common_lb_config=Cluster.CommonLbConfig(healthy_panic_threshold=Percent(value=0)),
        circuit_breakers=_unlimited(),
        typed_extension_protocol_options={HTTP_OPTIONS: pack(options)},
        transport_socket=tls.upstream(spiffe_id, sni),
    )


def app_cluster(address: str, port: int, protocol: Protocol) -> Cluster:
    """Return the cluster of the proxy's own app: plain HTTP/1.1, or HTTP/2 with prior knowledge for gRPC."""
    return Cluster(
        name=names.LOCAL_APP,
        alt_stat_name=names.own_stat_name(names.LOCAL_APP),
        type=Cluster.DiscoveryType.STATIC,
        connect_timeout=duration(CONNECT_TIMEOUT),
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        load_assignment=one_host(names.LOCAL_APP, tcp(address, port)),
        circuit_breakers=_unlimited(),
        typed_extension_protocol_options={HTTP_OPTIONS: pack(_app_options(protocol))},
    )


def keepalive() -> Http2ProtocolOptions:
    """Return HTTP/2 with pings: a peer whose host dies sends no FIN."""
    interval, timeout = duration(timedelta(seconds=10)), duration(timedelta(seconds=5))
    return Http2ProtocolOptions(connection_keepalive=KeepaliveSettings(interval=interval, timeout=timeout))


def ads() -> ConfigSource:
    """Return the source of everything that comes over the one aggregated stream."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def _app_options(protocol: Protocol) -> HttpProtocolOptions:
    if protocol == "grpc":
        http2 = HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
        return HttpProtocolOptions(explicit_http_config=http2)
    return HttpProtocolOptions(
        common_http_protocol_options=CommonOptions(idle_timeout=duration(APP_IDLE_TIMEOUT)),
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )


def _unlimited() -> CircuitBreakers:
    limit = UInt32Value(value=NO_LIMIT)
    thresholds = CircuitBreakers.Thresholds(
        max_connections=limit, max_pending_requests=limit, max_requests=limit, max_retries=limit
    )
    return CircuitBreakers(thresholds=[thresholds])
