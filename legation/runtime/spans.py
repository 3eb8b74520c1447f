"""Steps as spans of OpenTelemetry, and on to a receiver of OTLP over gRPC. Loaded by who traces alone.

The SDK queues and batches. Its own exporter of OTLP brings protos that are at odds with those of the same name in
xds-protos, so what a batch looks like on the wire is written here (opentelemetry-proto, trace/v1), with the latter.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from ssl import get_default_verify_paths

import grpc
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from legation.mesh.model.tracing import Otlp
from legation.runtime.trail import Step

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TIMEOUT = 2.0
"""Seconds that the receiver has for a batch; what it does not take in time is lost."""
_MOST_WAITING = 2048
"""Spans that wait; beyond that new work is not traced."""
_AT_ONCE = 512
_EVERY = 1000
"""Milliseconds in which spans gather."""
_NANOSECONDS = 1_000_000_000


class Spans:
    """Makes spans of one service's work, and sends them."""

    def __init__(self, service: str, mesh: str, receiver: Otlp, count: Callable[[str, int], None]) -> None:
        """Send to a receiver; OSError when its CAs cannot be read. `count(outcome, number)` hears of each batch."""
        self._count_only, self._waiting, self._lock = count, 0, threading.Lock()
        self._exporter = OtlpExporter(receiver, self._done)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": service, "service.namespace": mesh}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=_MOST_WAITING,
                schedule_delay_millis=_EVERY,
                max_export_batch_size=_AT_ONCE,
            )
        )
        self._tracer = self._provider.get_tracer("legation")

    def emit(self, root: Step) -> None:
        """Take a piece of work, whole or not at all; returns at once."""
        size = root.size()
        with self._lock:
            fits = self._waiting + size <= _MOST_WAITING
            self._waiting += size if fits else 0
        if fits:
            self._emit(root, None, root.start if root.end is None else root.end)
        else:
            self._count_only("lost", size)

    def close(self) -> None:
        """Send what waits, for as long as one batch may take, and end. Blocks."""
        limit = threading.Timer(_TIMEOUT, self._exporter.shutdown)  # force_flush takes a limit, and keeps to none
        limit.start()
        self._provider.force_flush()
        limit.cancel()
        self._exporter.shutdown()
        self._provider.shutdown()

    def _done(self, outcome: str, number: int) -> None:
        with self._lock:
            self._waiting -= number
        self._count_only(outcome, number)

    def _emit(self, step: Step, parent: "trace.Span | None", otherwise: float) -> None:
        """Emit a step below its parent; one that has not ended ends with the whole."""
        end = otherwise if step.end is None else step.end
        above = None if parent is None else trace.set_span_in_context(parent)
        span = self._tracer.start_span(step.name, above, start_time=_nanoseconds(step.start), attributes=step.said)
        for below in step.steps:
            self._emit(below, span, otherwise)
        if step.failure is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, step.failure))
        span.end(_nanoseconds(max(end, step.start)))


class OtlpExporter(SpanExporter):
    """Sends batches, one at a time and once: a receiver that is away costs what waits, not more."""

    def __init__(self, receiver: Otlp, count: Callable[[str, int], None]) -> None:
        """Connect when there is something to send; OSError when CAs cannot be read."""
        self._count = count
        self._channel = _channel(receiver)
        self._send: Callable[..., bytes] = self._channel.unary_unary(_METHOD, request_serializer=_serialize)
        self._ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; say whether it arrived."""
        try:
            if not self._ended:
                self._send(request(spans), timeout=_TIMEOUT)
                self._count("sent", len(spans))
                return SpanExportResult.SUCCESS
        except (grpc.RpcError, ValueError):  # ValueError: the channel was closed meanwhile
            pass
        self._count("lost", len(spans))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Send nothing any more, and give up what is on its way."""
        self._ended = True
        self._channel.close()


def request(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return a batch, which is all of one service, on the wire."""
    message = ExportTraceServiceRequest()
    if spans:
        batch = message.resource_spans.add()
        batch.resource.attributes.extend(_pairs(spans[0].resource.attributes))
        batch.instrumentation_library_spans.add(spans=map(_span, spans))
    return message


def _span(span: ReadableSpan) -> Span:
    context = span.get_span_context()
    if context is None:
        raise AssertionError("a span that has ended has its ids")
    return Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        parent_span_id=b"" if span.parent is None else span.parent.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=Span.SpanKind.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
        attributes=_pairs(span.attributes or {}),
        status=Status(code=span.status.status_code.value, message=span.status.description or ""),
    )


def _pairs(said: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in sorted(said.items())]


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=str(value))


def _serialize(message: ExportTraceServiceRequest) -> bytes:
    return bytes(message.SerializeToString())


def _channel(receiver: Otlp) -> grpc.Channel:
    address = f"[{receiver.host}]:{receiver.port}" if ":" in receiver.host else f"{receiver.host}:{receiver.port}"
    # never by the environment's proxy: it is near, and a proxy would be told what is done
    options = (("grpc.enable_http_proxy", 0),)
    if not receiver.tls:
        return grpc.insecure_channel(address, options)
    roots = Path(receiver.ca or get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt").read_bytes()
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(roots), options)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)
