"""A receiver of spans over OTLP/gRPC (opentelemetry-proto, collector/trace/v1), for tests of what proxies send."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanProto

KINDS = {SpanProto.SPAN_KIND_SERVER: "server", SpanProto.SPAN_KIND_CLIENT: "client"}


@dataclass(frozen=True)
class Span:
    """One span, with what its sender says of itself."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    tags: dict[str, str]
    resource: dict[str, str]

    @property
    def service(self) -> str:
        return self.resource["service.name"]


class Receiver:
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[Span] = []

    def export(self, request: ExportTraceServiceRequest, _: grpc.ServicerContext) -> ExportTraceServiceResponse:
        for sent in request.resource_spans:
            resource = _tags(sent.resource.attributes)
            # scope_spans by its older name, which the copy of the protos that comes with Envoy's API has
            scopes = sent.instrumentation_library_spans
            self.spans += [_span(proto, resource) for scope in scopes for proto in scope.spans]
        return ExportTraceServiceResponse()

    def trace(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]


@contextmanager
def receiving(credentials: grpc.ServerCredentials | None = None) -> Iterator[Receiver]:
    receiver = Receiver()
    export = grpc.unary_unary_rpc_method_handler(
        receiver.export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(4))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
    at = "127.0.0.1:0"
    receiver.port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None)


def _span(proto: SpanProto, resource: dict[str, str]) -> Span:
    return Span(
        proto.trace_id.hex(), proto.span_id.hex(), proto.parent_span_id.hex(), proto.name,
        KINDS.get(proto.kind, ""), _tags(proto.attributes), resource,
    )  # fmt: skip


def _tags(pairs: "list[KeyValue]") -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in pairs}
