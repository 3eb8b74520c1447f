"""Log records as OTLP has them (opentelemetry-proto, logs/v1): Envoy's to ours, ours to a receiver's. Pure.

The protos are those that come with Envoy's API; they have `scope_logs` and `log_records` by their older names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2 as proto

from legation.mesh import names
from legation.mesh.logged import NAMES, SAID
from legation.runtime.control.log_messages import LogRecord
from telemetry.logs.lenient import LenientBatch
from telemetry.logs.line import trace_of
from telemetry.logs.shorten import shorten

_NANOSECONDS = 1_000_000_000
_OWN_COLUMNS = frozenset({"service", "version", "status", "grpc_status", "flags", "request_id", "traceparent"})

_APP = names.own_stat_name(names.LOCAL_APP)
"""The cluster that every connection in front of an app goes to."""


def records(serialised: bytes) -> Iterator[LogRecord]:
    """Return the access log records of one batch of an Envoy of ours; DecodeError where it is none."""
    return _read(serialised, _access)


def passed_on(serialised: bytes) -> Iterator[LogRecord]:
    """Return the records of a batch that `export` has made on another host; DecodeError or ValueError where it has not.

    A field of its own for each, and what is left of them is what is known of a request.
    """
    return _read(serialised, _passed_on)


def _read(serialised: bytes, read: Callable[[Any, Mapping[str, str]], LogRecord]) -> Iterator[LogRecord]:
    """Yield what `read` makes of each record and of what its batch says of who wrote it."""
    for batch in LenientBatch.FromString(serialised).resource_logs:
        writer = _texts(batch.resource.attributes)
        for scope in batch.instrumentation_library_logs:
            yield from (read(record, writer) for record in scope.logs)


def _passed_on(record: Any, writer: Mapping[str, str]) -> LogRecord:
    said = _texts(record.attributes)
    kind = said.pop("kind", "")
    if kind not in {"access", "app"}:
        raise ValueError(f"a record is of an access log or an app's, and not {kind!r}")
    return LogRecord(
        time=record.time_unix_nano / _NANOSECONDS,
        kind="access" if kind == "access" else "app",
        service=writer.get("service.name", ""),
        instance=writer.get("service.instance.id", ""),
        version=writer.get("service.version", ""),
        code=_number(said.pop("status", None)),
        grpc=_number(said.pop("grpc_status", None)),
        flags=said.pop("flags", ""),
        trace=record.trace_id.hex(),
        request=said.pop("request_id", ""),
        text=shorten(record.body.string_value.decode(errors="replace")),
        fields=said,
    )


def count(serialised: bytes) -> int:
    """Return how many records a batch has; DecodeError where it is none."""
    batches = LenientBatch.FromString(serialised).resource_logs
    return sum(len(scope.logs) for batch in batches for scope in batch.instrumentation_library_logs)


def _texts(pairs: Iterable[Any]) -> dict[str, str]:
    return _known((pair.key, pair.value.string_value) for pair in pairs)


def _lines(body: bytes) -> dict[str, str]:
    """Return what a record says, by its names; proxies write letters (`legation.mesh.logged`)."""
    said = _known((name, value) for name, _, value in (line.partition(b"=") for line in body.split(b"\n")))
    return {NAMES.get(name, name): value for name, value in said.items()}


def _known(said: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return what is known: Envoy writes a dash where it knows nothing."""
    return {
        name.decode(errors="replace"): shorten(value.decode(errors="replace"))
        for name, value in said
        if value not in (b"", b"-")
    }


def _said(record: Any) -> bytes:
    """Return what a proxy says of a request, in one text."""
    found = (pair.value.string_value for pair in record.attributes if pair.key == SAID.encode())
    return bytes(next(found, record.body.string_value))


def _access(record: Any, writer: Mapping[str, str]) -> LogRecord:
    said = _lines(_said(record))
    return LogRecord(
        time=record.time_unix_nano / _NANOSECONDS,
        kind="access",
        service=said.get("service") or writer.get("cluster_name", ""),
        instance=writer.get("node_name", ""),
        version=said.get("version", ""),
        code=_number(said.get("status")),
        grpc=_number(said.get("grpc_status")),
        flags=said.get("flags", ""),
        trace=record.trace_id.hex() or trace_of(said.get("traceparent", "")),
        request=said.get("request_id", ""),
        text=shorten(summary(said)),
        fields={key: value for key, value in said.items() if key not in _OWN_COLUMNS},
    )


def summary(said: Mapping[str, str]) -> str:
    """Return one record of an access log in a few words: what was asked, of whom, and what came of it."""
    took = f"{said['duration_ms']}ms" if "duration_ms" in said else ""
    if "method" not in said:
        cluster = said.get("cluster", "")
        asked = ("connection", _caller(said), "" if cluster == _APP else cluster)
        why = said.get("details", ""), said.get("transport_failure", "")
    else:
        asked = (said["method"], "", said.get("authority", "") + said.get("path", ""))
        why = said.get("details", ""), ""  # what went wrong with a connection is in them
    words = (*asked, said.get("status", ""), said.get("flags", ""), took, *why)
    return " ".join(word for word in words if word and word != "via_upstream")


def _caller(said: Mapping[str, str]) -> str:
    """Return who opened a connection: by its certificate, else by its address; what goes out is its writer's own."""
    if said.get("direction") == "outbound":
        return ""
    caller = said.get("peer", "").removeprefix("spiffe://").partition("/")[2] or said.get("client", "")
    return f"from {caller}" if caller else ""


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def export(found: Iterable[LogRecord], mesh: str) -> bytes:
    """Return a serialised ExportLogsServiceRequest: records by who wrote them, in OpenTelemetry's own words."""
    request = ExportLogsServiceRequest()
    writers: dict[tuple[str, str, str], proto.InstrumentationLibraryLogs] = {}
    for record in found:
        writer = (record.service, record.instance, record.version)
        if writer not in writers:
            writers[writer] = _of_writer(request, mesh, *writer)
        writers[writer].logs.append(_export_one(record))
    return bytes(request.SerializeToString())


def _of_writer(
    request: ExportLogsServiceRequest, mesh: str, service: str, instance: str, version: str
) -> proto.InstrumentationLibraryLogs:
    batch = request.resource_logs.add()
    known = {
        "service.namespace": mesh,
        "service.name": service,
        "service.instance.id": instance,
        "service.version": version,
    }
    batch.resource.attributes.extend(_pairs(known))
    return batch.instrumentation_library_logs.add()


def _export_one(record: LogRecord) -> proto.LogRecord:
    code = "" if record.code is None else str(record.code)
    grpc = "" if record.grpc is None else str(record.grpc)
    own = {
        "kind": record.kind,
        "status": code,
        "grpc_status": grpc,
        "flags": record.flags,
        "request_id": record.request,
    }
    return proto.LogRecord(
        time_unix_nano=int(record.time * _NANOSECONDS),
        body=AnyValue(string_value=record.text),
        trace_id=bytes.fromhex(record.trace),
        attributes=_pairs({**own, **record.fields}),
    )


def _pairs(said: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in sorted(said.items()) if value]
