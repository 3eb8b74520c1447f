"""What an Envoy of ours starts with: who it is, and where it gets everything else from."""

from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap, LayeredRuntime, RuntimeLayer
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.base_pb2 import Node as NodeProto
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions as CommonOptions
from envoy.config.overload.v3.overload_pb2 import OverloadManager, ResourceMonitor
from envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2 import (
    DownstreamConnectionsConfig,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from xds_server.compile import access_log, tls
from xds_server.compile.address import one_host, pipe, tcp
from xds_server.compile.circuit_breaker import BATCHES, thresholds
from xds_server.compile.cluster import CONNECT_TIMEOUT, HTTP_OPTIONS, ads, http2
from xds_server.compile.grpc_service import grpc_service
from xds_server.compile.metrics import metrics_listener, stats_config
from xds_server.compile.pack import duration, pack

MAX_CONNECTIONS = 50_000
"""Downstream connections of one Envoy; above them it refuses new ones instead of running out of files and memory."""

_RESETS = "overload.premature_reset_total_stream_count"
_GATEWAY_RESETS, _PEER_RESETS = 200, 10_000
"""Requests of one HTTP/2 connection of which most are taken back at once: it is closed (CVE-2023-44487).

A gateway passes its clients' resets on to the connection that all of them share, so peers bear more.
"""

_OWNER_ONLY = 0o600

_ELSEWHERE = {"loopback", "by_name", "plain_addresses", "metrics_address", "standalone", "log"}
_ELSEWHERE |= {"in_environment", "lines_module"}
"""What is said only where there is something to say of it."""


@dataclass(frozen=True, slots=True)
class BootstrapInput:
    """What the bootstrap depends on: the node, and where its host's services are.

    `xds_host` is an IP address or a name; `sds_socket`, `admin_socket` and `logs_socket` are paths of unix
    sockets; without the last one the access log goes to stdout.
    `counts_all` is mesh.yaml's full profile of metrics.
    """

    node: InstanceSpec
    trust_domain: str
    xds_host: str
    xds_port: int
    sds_socket: str
    admin_socket: str
    counts_all: bool = False
    logs_socket: str = ""


def bootstrap(given: BootstrapInput) -> str:
    """Return an Envoy's bootstrap file, as JSON."""
    node = replace(given.node, log="otlp" if given.logs_socket else "stdout")
    proto = Bootstrap(
        node=_node(node),
        admin=Admin(address=pipe(given.admin_socket, _OWNER_ONLY)),
        static_resources=Bootstrap.StaticResources(
            clusters=[_xds(given), _sds(given), _admin(given), _logs(given)],
            listeners=[metrics_listener(node.scraped_address, node.metrics_port)],
        ),
        dynamic_resources=_dynamic_resources(),
        hds_config=_api(ApiConfigSource.ApiType.GRPC),
        stats_config=stats_config(counts_all=given.counts_all),
        # Histograms reach a scrape only with a flush: 5 s by default, a whole scrape late.
        stats_flush_interval=duration(timedelta(seconds=1)),
        overload_manager=_overload_manager(),
        layered_runtime=_runtime(given),
    )
    return MessageToJson(proto, preserving_proto_field_name=True, sort_keys=True, indent=2) + "\n"


def metadata(node: InstanceSpec) -> dict[str, Any]:
    """Return what an instance says of itself: its spec whole, but its id, which is the node's."""
    fields = asdict(node)
    del fields["id"], fields["lacks"]
    return {name: value for name, value in fields.items() if value or name not in _ELSEWHERE}


def _node(node: InstanceSpec) -> NodeProto:
    fields = Struct()
    fields.update(metadata(node))
    return NodeProto(id=node.id, cluster=node.service, locality=Locality(zone=node.zone), metadata=fields)


def _dynamic_resources() -> Bootstrap.DynamicResources:
    """Return one delta stream for everything.

    Without a fetch timeout: an Envoy that has no configuration yet waits and is not ready,
    instead of being ready with nothing.
    """
    source = ads()
    source.initial_fetch_timeout.CopyFrom(duration(timedelta(0)))
    return Bootstrap.DynamicResources(
        ads_config=_api(ApiConfigSource.ApiType.DELTA_GRPC), cds_config=source, lds_config=source
    )


def _api(api_type: "ApiConfigSource.ApiType.ValueType") -> ApiConfigSource:
    return ApiConfigSource(
        api_type=api_type,
        transport_api_version=ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[grpc_service(names.XDS_CLUSTER)],
    )


def _xds(given: BootstrapInput) -> Cluster:
    """Return xds_server, over mTLS: it alone may configure this proxy.

    A connection a stream: one that is opened anew shows the certificate of then, and not of its connection's begin.
    """
    cluster = _static(names.XDS_CLUSTER, tcp(given.xds_host, given.xds_port))
    if not names.is_ip(given.xds_host):
        cluster.type = Cluster.DiscoveryType.STRICT_DNS
    identity = names.spiffe_id(given.trust_domain, names.XDS_SERVER)
    cluster.transport_socket.CopyFrom(tls.upstream([identity], names.XDS_SERVER))
    return _with_http2(cluster, CommonOptions(max_requests_per_connection=UInt32Value(value=1)))


def _sds(given: BootstrapInput) -> Cluster:
    """Return certmgr's socket for this service: whoever may open it has the identity."""
    return _with_http2(_static(names.SDS_CLUSTER, pipe(given.sds_socket)))


def _admin(given: BootstrapInput) -> Cluster:
    return _static(names.ADMIN_CLUSTER, pipe(given.admin_socket))


def _logs(given: BootstrapInput) -> Cluster:
    """Return telemetry's socket for access logs; where there is none, a cluster that nothing is sent to."""
    cluster = _with_http2(_static(names.LOGS_CLUSTER, pipe(given.logs_socket or given.admin_socket)))
    # a telemetry that hangs may hold up no more than this of a proxy's memory
    cluster.circuit_breakers.CopyFrom(thresholds(BATCHES))
    return cluster


def _static(name: str, address: Address) -> Cluster:
    return Cluster(
        name=name,
        alt_stat_name=names.own_stat_name(name),
        type=Cluster.DiscoveryType.STATIC,
        connect_timeout=duration(CONNECT_TIMEOUT),
        load_assignment=one_host(name, address),
    )


def _with_http2(cluster: Cluster, common: CommonOptions | None = None) -> Cluster:
    options = pack(HttpProtocolOptions(explicit_http_config=http2(), common_http_protocol_options=common))
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(options)
    return cluster


def _runtime(given: BootstrapInput) -> LayeredRuntime:
    layer = Struct()
    resets = _GATEWAY_RESETS if given.node.service == names.GATEWAY else _PEER_RESETS
    layer.update({_RESETS: resets, **access_log.runtime(to_telemetry=bool(given.logs_socket))})
    return LayeredRuntime(layers=[RuntimeLayer(name="legation", static_layer=layer)])


def _overload_manager() -> OverloadManager:
    config = DownstreamConnectionsConfig(max_active_downstream_connections=MAX_CONNECTIONS)
    monitor = ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=pack(config)
    )
    return OverloadManager(resource_monitors=[monitor])
