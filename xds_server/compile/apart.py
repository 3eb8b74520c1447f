"""What no connection manager counts by itself: whom callers gave up on, gRPC's statuses, and of whom of several.

A connection manager counts under one name whatever it takes. Loggers of statistics count again, under the names and
labels that one of the service's own would have: what reads them need not know who shares a port. What it has as reset
(`downstream_rq_rx_reset`) are its own resets, too: of a POST that was answered before its body had come. Envoy's filter
for gRPC counts calls that go well, too, for which nobody asks: 13 thousand instructions each.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import Metadata, RuntimeUInt32
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from google.protobuf.struct_pb2 import Struct

from legation.mesh.model.service import Protocol
from xds_server.compile.access_log import IS_GRPC, NOT_OK
from xds_server.compile.stats_logger import stats_logger

_NAMESPACE, _SERVICE, _ZERO = "legation", "service", "zero"
_CLASS = {"name": "envoy.response_code_class", "value_format": "%RESP(:STATUS):1%"}


def _status(op: "ComparisonFilter.Op.ValueType", value: int) -> AccessLogFilter:
    comparison = ComparisonFilter(op=op, value=RuntimeUInt32(default_value=value, runtime_key="legation.answered"))
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


_ANSWERED = _status(ComparisonFilter.Op.GE, 100)
_BROKEN_OFF = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["DC", "DR"]))
"""By the end of the connection, or, in HTTP/2, of the stream."""
_GIVEN_UP = AccessLogFilter(and_filter=AndFilter(filters=(_BROKEN_OFF, _status(ComparisonFilter.Op.LE, 99))))
"""The flag first: a request that goes well bears none, and is asked nothing more."""
_FAILURES = ("4", "5")

_FAILED_CALL = AccessLogFilter(and_filter=AndFilter(filters=(NOT_OK, IS_GRPC, _ANSWERED)))
"""The status first, which most calls have as OK. To Envoy whatever is no call of gRPC, or unanswered, has UNKNOWN."""


def counted_as(host: VirtualHost, service: str) -> VirtualHost:
    """Return the host with the service that its requests are counted for."""
    said = Struct()
    said.update({_SERVICE: service})
    host.metadata.filter_metadata[_NAMESPACE].CopyFrom(said)
    return host


def with_zero(listener: Metadata) -> Metadata:
    """Return a listener's metadata with a zero: Envoy takes no constant for what a counter is to rise by."""
    listener.filter_metadata[_NAMESPACE].update({_ZERO: 0})
    return listener


def count_apart(prefix: str) -> Sequence[AccessLog]:
    """Return what counts requests under `prefix` and the service of their virtual host; those of no service nowhere.

    With a service's first request its failures are there too, as 0, so that the first of them is seen as a rise; those
    given up are not (`count_given_up`).
    """
    manager = _manager(f"{prefix}{_said('VIRTUAL_HOST', _SERVICE)}")
    failures = [{"name": _CLASS["name"], "value_format": one} for one in _FAILURES]
    zeros = [_zero("downstream_rq_xx", manager, one) for one in failures]
    time = {"stat": {"name": "downstream_rq_time", "tags": [manager]}, "value_format": "%DURATION%"}
    answered = [_one("downstream_rq_xx", manager, _CLASS), *zeros]
    return (
        _logger(_ANSWERED, {"counters": answered, "histograms": [time]}),
        _given_up(manager),
    )


def count_given_up(prefix: str) -> AccessLog:
    """Return what counts requests that their caller gave up on before there was an answer, under a manager's prefix.

    There from the first one only, as a zero would cost each request that goes well: queries take its first value for a
    rise (`telemetry.rules.edges.counted`). An answer that is broken off half-way, as a stream is at its end, is one.
    """
    return _given_up(_manager(prefix))


def count_statuses(protocols: Collection[Protocol]) -> Sequence[AccessLog]:
    """Return what counts calls of gRPC by status, if not OK, and by the cluster that they went to.

    `protocols` are those of the services behind. To HTTP a failed call is a 200. Methods are not told apart: their
    names are the client's to choose. There from the first one only.
    """
    return (_statuses(),) if "grpc" in protocols else ()


def counts_statuses(log: AccessLog) -> bool:
    """Say whether that is what a log is for."""
    return bool(log == _statuses())


@cache
def _statuses() -> AccessLog:
    cluster = {"name": "envoy.cluster_name", "value_format": "%UPSTREAM_CLUSTER%"}
    status = {"name": "envoy.grpc_status", "value_format": "%GRPC_STATUS(SNAKE_STRING)%"}
    return _logger(_FAILED_CALL, {"counters": [_one("grpc_status", cluster, status)]}, "cluster")


def _given_up(manager: Mapping[str, str]) -> AccessLog:
    return _logger(_GIVEN_UP, {"counters": [_one("downstream_rq_given_up", manager)]})


def _manager(prefix: str) -> Mapping[str, str]:
    return {"name": "envoy.http_conn_manager_prefix", "value_format": prefix}


def _one(name: str, *tags: Mapping[str, str]) -> Mapping[str, Any]:
    return {"stat": {"name": name, "tags": list(tags)}, "value_fixed": 1}


def _zero(name: str, *tags: Mapping[str, str]) -> Mapping[str, Any]:
    return {"stat": {"name": name, "tags": list(tags)}, "value_format": _said("LISTENER", _ZERO)}


def _said(by: str, key: str) -> str:
    return f"%METADATA({by}:{_NAMESPACE}:{key})%"


def _logger(only: AccessLogFilter, counted: Mapping[str, Any], scope: str = "http") -> AccessLog:
    return stats_logger({"stats_scope": {"prefix": scope}, **counted}, only)
