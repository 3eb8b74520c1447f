"""The access log: one record a request, by whoever serves it, and by its caller where something is odd.

The fields are the same at both ends of a hop, but for what says nothing at the callee's.

It goes to telemetry over OTLP where the bootstrap knows its socket, else as JSON lines to stdout: two loggers. A node
that says which one it has a use for gets that alone (`keep_one`); one of before has both, of which its bootstrap's
runtime turns one off.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    DurationFilter,
    GrpcStatusFilter,
    HeaderFilter,
    NotHealthCheckFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import Metadata, RuntimeUInt32
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import CommonGrpcAccessLogConfig
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value
from xds.type.v3.typed_struct_pb2 import TypedStruct

from legation.mesh import names
from legation.mesh.instance import InstanceSpec, Log
from legation.mesh.logged import LETTERS, SAID
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service
from xds_server.compile.pack import pack

Direction = Literal["inbound", "outbound", "gateway"]
Logged = Literal["all", "odd", "failed"]
"""Which requests: all, those that did not just go well, or those that failed."""

_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
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


_CARRIED = {"traceparent": "%REQ(TRACEPARENT)%"}


def writer(node: InstanceSpec) -> Metadata:
    """Return what a node's listeners say of it for its log."""
    said = Struct()
    said.update({"instance": node.id, "version": node.version})
    return Metadata(filter_metadata={"legation": said})


_FROM_ENVIRONMENT = {
    _FIELDS["instance"]: f"%ENVIRONMENT({names.INSTANCE_VARIABLE})%",
    _FIELDS["version"]: f"%ENVIRONMENT({names.VERSION_VARIABLE})%",
}
"""What Envoy reads once: metadata cost a request 3,700 instructions a value in JSON, 800 in text (docs/bench.md)."""

_OF_CONNECTIONS = (
    "time", "flags", "details", "transport_failure", "bytes_received", "bytes_sent", "duration_ms", "cluster",
    "upstream", "upstream_instance", "peer", "client", "instance", "version",
)  # fmt: skip


_KNOWN_TO_OTLP = frozenset({"time", "trace_id", "instance", "service"})
"""What a record of OTLP has a place of its own for, or its resource: `node_name`, and `cluster_name`."""

_NOTHING_NEW: Mapping[Direction, frozenset[str]] = {
    "inbound": frozenset(
        {
            "protocol",
            "transport_failure",
            "attempts",
            "cluster",
            "upstream",
            "upstream_instance",
            "route",
            "unavailable",
        }
    ),
    "outbound": frozenset(),
    "gateway": frozenset(),
}
"""What is not said of requests: in front of an app there is one route, to one place, in plain text.

Why that took none is in `details`; what it answers with `x-legation-unavailable` is dropped. Each value costs a
proxy 450 instructions (docs/bench.md).
"""

_BATCH = 64 * 1024
"""Bytes of a batch of records, if a second does not bring less: a call costs as a dozen do, and 16 kB hold but 40.

A batch waits for as long as telemetry hangs: Envoy 1.40 has no limit of time there. The circuit breaker of its cluster
bounds how many do (`xds_server.compile.bootstrap`), and what is beyond is dropped.
"""


def runtime(to_telemetry: bool) -> dict[str, int]:
    """Return the runtime by which a bootstrap says where its access log goes."""
    return {_ON_STDOUT: 0 if to_telemetry else 100, _OVER_OTLP: 100 if to_telemetry else 0}


_ON_STDOUT, _OVER_OTLP = "legation.access_log.stdout", "legation.access_log.otlp"
_OTLP_CONFIG = "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_LOGGERS: Mapping[Log, str] = {
    "stdout": "envoy.access_loggers.stdout",
    "otlp": "envoy.access_loggers.open_telemetry",
}


class Written(NamedTuple):
    """How a node writes its log: where it goes, and whether its Envoy's environment says who writes."""

    log: Log | Literal[""]
    in_environment: bool


def keep_one(logs: Any, kept: Log, *, in_environment: bool) -> None:
    """Take the other logger out of a proxy's, and with it the question whether this one is on."""
    other = _LOGGERS["stdout" if kept == "otlp" else "otlp"]
    left = [log for log in logs if log.name != other]
    for log in left:
        if log.name == _LOGGERS[kept]:
            _unasked(log)
            if in_environment:
                _from_environment(log.typed_config)
    del logs[:]
    logs.extend(left)


def _unasked(log: AccessLog) -> None:
    """Take the first filter away, which is the runtime's."""
    left = log.filter.and_filter.filters[1:]
    log.ClearField("filter")
    if left:
        log.filter.CopyFrom(_all(left))


@lru_cache(maxsize=4)
def tcp_access_logs(direction: Direction, service: str) -> Sequence[AccessLog]:
    """Return the access logs of connections: a record when one ends."""
    said = {name: _FIELDS[name] for name in _OF_CONNECTIONS}
    if direction == "inbound":  # an app is spoken to in plain text: what can fail there is the caller's handshake
        said["transport_failure"] = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%"
    return _loggers(said, direction, service)


def logged(mesh: Mesh, called: Collection[str] = ()) -> Logged:
    """Return what is written down of requests to services that are called, or, where none is, to a proxy's own app.

    What the proxies of all that are called write down themselves need not be.
    """
    if not mesh.logging.sampling:
        return "failed"
    if mesh.logging.mode == "client_and_server" or not mesh.has_all(called):
        return "all"
    return "all" if any(_answers_well(mesh.services[name]) for name in called) else "odd"


def _answers_well(service: Service) -> bool:
    """Say whether proxies of its callers answer some of its requests, as if all were well: it never hears of those."""
    return any(route.respond is not None and route.respond.status < _NOT_WELL for route in service.routes)


@lru_cache(maxsize=8)
def access_logs(
    direction: Direction, service: str, which: Logged = "all", *, carried: bool = False, grpc: bool = True
) -> Sequence[AccessLog]:
    """Return the access logs of one proxy's listeners; `service` is the proxy's own. Health checks are left out.

    `carried`: it makes no span, so the trace is the one that the request bears. `grpc`: some may be calls of it.
    The same for all of a service's listeners, and a third of what compiling one takes: never change what you get.
    """
    checks = AccessLogFilter(not_health_check_filter=NotHealthCheckFilter())
    known = {**_FIELDS, **_CARRIED} if carried else _FIELDS
    left_out = _NOTHING_NEW[direction] | ({"grpc_status"} if direction == "inbound" and not grpc else set())
    said = {name: value for name, value in known.items() if name not in left_out}
    return _loggers(said, direction, service, *_only(which, grpc=grpc), checks)


def may_be_grpc(mesh: Mesh, direction: Direction, service: str, called: Collection[str]) -> bool:
    """Say whether requests may be calls of gRPC: not where all that they go to are apps that speak HTTP/1 alone."""
    apps = (service,) if direction == "inbound" else called
    return not mesh.has_all(apps) or any(mesh.services[name].protocol != "http" for name in apps)


_NOT_WELL, _FAILED = 300, 500
_SLOW = timedelta(seconds=1)
"""From when on a caller writes down what its callee has as well: who waited for what is seen from both ends then."""


def _at_least(value: int, key: str) -> ComparisonFilter:
    """Return the comparison with a value. Envoy asks for a runtime key, too, which nobody sets."""
    return ComparisonFilter(
        op=ComparisonFilter.Op.GE, value=RuntimeUInt32(default_value=value, runtime_key=f"legation.access_log.{key}")
    )


def _status(least: int) -> AccessLogFilter:
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=_at_least(least, "status")))


def _any(*filters: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(or_filter=OrFilter(filters=filters))


_FLAGGED = AccessLogFilter(response_flag_filter=ResponseFlagFilter())
IS_GRPC = AccessLogFilter(
    header_filter=HeaderFilter(
        header=HeaderMatcher(name="content-type", string_match=StringMatcher(prefix="application/grpc"))
    )
)
NOT_OK = AccessLogFilter(grpc_status_filter=GrpcStatusFilter(statuses=[GrpcStatusFilter.Status.OK], exclude=True))
_LONG = AccessLogFilter(
    duration_filter=DurationFilter(comparison=_at_least(_SLOW // timedelta(milliseconds=1), "duration_ms"))
)
_GRPC_FAILED = AccessLogFilter(and_filter=AndFilter(filters=(IS_GRPC, NOT_OK)))
"""To Envoy a request that is no call of gRPC has a status of gRPC too: UNKNOWN."""

_ONLY: Mapping[Logged, Sequence[AccessLogFilter]] = {
    "all": (),
    "odd": (_status(_NOT_WELL), _FLAGGED, _LONG),
    "failed": (_status(_FAILED), _FLAGGED),
}
"""One of these must hold; what failed is what `telemetry.logs.budget.has_failed` calls so.

A caller writes down each answer but 2xx: its own proxy may have given it (a redirect, a 404), and its callee never
heard of it.
"""


def _only(which: Logged, *, grpc: bool) -> Sequence[AccessLogFilter]:
    found = _ONLY[which]
    return (_any(*found, *((_GRPC_FAILED,) if grpc else ())),) if found else ()


def _loggers(
    fields: Mapping[str, str], direction: Direction, service: str, *filters: AccessLogFilter
) -> Sequence[AccessLog]:
    said = {**fields, "direction": direction, "service": service}
    return (
        AccessLog(
            name=_LOGGERS["stdout"],
            filter=_all((_where(_ON_STDOUT, 100), *filters)),
            typed_config=_json(said),
        ),
        AccessLog(
            name=_LOGGERS["otlp"],
            filter=_all((_where(_OVER_OTLP, 0), *filters)),
            typed_config=_otlp({n: v for n, v in said.items() if n not in _KNOWN_TO_OTLP}),
        ),
    )


def _where(key: str, default: int) -> AccessLogFilter:
    """Return what lets all or nothing pass, as the bootstrap's runtime says."""
    share = FractionalPercent(numerator=default)
    return AccessLogFilter(
        runtime_filter=RuntimeFilter(runtime_key=key, percent_sampled=share, use_independent_randomness=True)
    )


def _all(filters: Sequence[AccessLogFilter]) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=filters)) if len(filters) > 1 else filters[0]


def _from_environment(packed: PackedAny) -> None:
    """Have a logger say who writes by its Envoy's environment, and not by its listener's metadata."""
    lines, records = StdoutAccessLog(), TypedStruct()
    if packed.Unpack(lines):
        said = lines.log_format.json_format
        said.update({name: _FROM_ENVIRONMENT.get(value, value) for name, value in said.items()})
        packed.CopyFrom(pack(lines))
    elif packed.Unpack(records):
        (tag,) = records.value["custom_tags"]
        for slow, once in _FROM_ENVIRONMENT.items():
            tag["value"] = tag["value"].replace(slow, once)
        packed.CopyFrom(pack(records))


def _json(fields: Mapping[str, str]) -> PackedAny:
    """Return JSON lines on standard output itself: /dev/stdout cannot be opened where that is a socket."""
    shape = Struct()
    shape.update(fields)
    return pack(StdoutAccessLog(log_format=SubstitutionFormatString(json_format=shape)))


def _otlp(fields: Mapping[str, str]) -> PackedAny:
    """Return records of OTLP; who writes is in their resource, once a batch. All else is one text, `name=value` a line.

    As an attribute each it cost three times as much. The text is a custom tag, as Envoy copies a body and attributes
    about so often that they are half as dear again (docs/bench.md). No header's value has a line break (RFC 9110
    §5.5). Names are letters (`legation.mesh.logged`).
    `common_config` is deprecated in 1.40, which passes over `buffer_size_bytes` beside what took its place.
    The protos that we have lack `custom_tags`: so it is written as JSON.
    """
    common = CommonGrpcAccessLogConfig(
        log_name="access",
        transport_api_version=ApiVersion.V3,
        grpc_service=GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=names.LOGS_CLUSTER)),
        buffer_size_bytes=UInt32Value(value=_BATCH),
    )
    text = "\n".join(f"{LETTERS.get(name, name)}={said}" for name, said in sorted(fields.items()))
    config = TypedStruct(type_url=_OTLP_CONFIG)
    config.value.update(
        {
            "common_config": MessageToDict(common, preserving_proto_field_name=True),
            "stat_prefix": names.LOGS_STAT_PREFIX,
            "custom_tags": [{"tag": SAID, "value": text}],
        }
    )
    return pack(config)
