"""What telemetry and `legation logs` say to each other of log records."""

from typing import Annotated, Literal

from msgspec import Meta

from legation.runtime.control.messages import Message

Kind = Literal["access", "app"]


class LogRecord(Message, frozen=True, kw_only=True):
    """One request, connection or line of an app; what is not known is empty (numbers: null)."""

    id: Annotated[int, Meta(description="grows; 0 before it is stored")] = 0
    time: Annotated[float, Meta(description="seconds since the epoch: of a request its begin")]
    kind: Kind
    service: Annotated[str, Meta(description="of who wrote it, as instance and version")]
    instance: str
    version: str = ""
    code: Annotated[int | None, Meta(description="HTTP status")] = None
    grpc: Annotated[int | None, Meta(description="gRPC status")] = None
    flags: Annotated[str, Meta(description="Envoy's response flags, by commas")] = ""
    trace: Annotated[str, Meta(description="trace id, 32 hex digits")] = ""
    request: Annotated[str, Meta(description="x-request-id")] = ""
    text: Annotated[str, Meta(description="of an app its line; else the request in short")]
    fields: Annotated[dict[str, str], Meta(description="what else is known of a request")] = {}


class LogPage(Message, frozen=True, kw_only=True):
    """The answer of telemetry's `GET /logs`, oldest first."""

    records: tuple[LogRecord, ...]
    last: Annotated[int, Meta(description="the newest id that was looked at: `after` of the next question")]
