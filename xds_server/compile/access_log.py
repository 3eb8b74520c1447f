"""The access log: one JSON line a request on stdout, the same fields at both ends of a hop."""

from typing import Literal

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, NotHealthCheckFilter
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from google.protobuf.struct_pb2 import Struct

from legation.mesh.instance import InstanceSpec
from xds_server.compile.pack import pack

Direction = Literal["inbound", "outbound", "gateway"]

_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "transport_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "upstream_instance": "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
    "route": "%ROUTE_NAME%",
    "unavailable": "%RESP(X-LEGATION-UNAVAILABLE)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "instance": "%METADATA(LISTENER:legation:instance)%",
    "version": "%METADATA(LISTENER:legation:version)%",
}
"""`instance` and `version` are the writer's own: its listeners bear them, as all else is shared by its service."""


def writer(node: InstanceSpec) -> Metadata:
    """Return what a node's listeners say of it for its log."""
    said = Struct()
    said.update({"instance": node.id, "version": node.version})
    return Metadata(filter_metadata={"legation": said})


_OF_CONNECTIONS = (
    "time", "flags", "details", "transport_failure", "bytes_received", "bytes_sent", "duration_ms", "cluster",
    "upstream", "upstream_instance", "peer", "client", "instance", "version",
)  # fmt: skip


def tcp_access_log(direction: Direction, service: str) -> AccessLog:
    """Return the access log of connections: a line when one ends."""
    fields = Struct()
    fields.update({**{name: _FIELDS[name] for name in _OF_CONNECTIONS}, "direction": direction, "service": service})
    return AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=pack(StdoutAccessLog(log_format=SubstitutionFormatString(json_format=fields))),
    )


def access_log(direction: Direction, service: str) -> AccessLog:
    """Return the access log of one proxy's listeners; `service` is the proxy's own. Health checks are left out.

    Written to standard output itself: /dev/stdout cannot be opened where that is a socket.
    """
    fields = Struct()
    fields.update({**_FIELDS, "direction": direction, "service": service})
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()),
        typed_config=pack(StdoutAccessLog(log_format=SubstitutionFormatString(json_format=fields))),
    )
