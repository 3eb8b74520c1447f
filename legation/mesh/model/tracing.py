"""`tracing`: spans of requests, from every proxy to a receiver of OTLP such as Jaeger."""

from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Argument, Boolean, Host, Model, Port

Share = Annotated[float, Field(strict=True, ge=0, le=100, json_schema_extra={"examples": [1]})]
"""Per cent of the requests."""

OTLP_PORT = 4317


class Otlp(Model):
    """A receiver of OTLP over gRPC: Jaeger, an OpenTelemetry collector, Tempo."""

    host: Annotated[Host, Field(description="its name or its address; over TLS its certificate must bear it")]
    port: Port = OTLP_PORT
    tls: Annotated[Boolean, Field(description="true: over TLS, verified")] = False
    ca: Annotated[
        Argument | None,
        Field(description="a file of the CAs that may vouch for it, in mesh.yaml's folder; none: the machine's"),
    ] = None


class Tracing(Model):
    """Which requests are traced, and where their spans go.

    It is decided where a request enters the mesh, and holds for all hops behind (W3C Trace Context).
    """

    otlp: Otlp
    sampling: Annotated[Share, Field(description="per cent of the requests that are traced")] = 1.0
    mode: Annotated[
        Literal["server", "client_and_server"],
        Field(description="who makes a span of a call: the proxy of who serves it, or the caller's too"),
    ] = "client_and_server"
    from_outside: Annotated[
        Literal["ignore", "continue"],
        Field(description="continue: a client's own trace goes on, and it decides whether it is sampled"),
    ] = "ignore"


class RouteTracing(Model):
    """What one row of `routes` has of its own."""

    sampling: Annotated[Share, Field(description="per cent of its requests that are traced")]
