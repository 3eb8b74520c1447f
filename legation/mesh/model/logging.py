"""`logging`: how much of the mesh's log is kept on a host, and who else gets it."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.model.tracing import Share
from legation.mesh.types import Argument, Boolean, HeaderValue, Integer, Interval, Model, Url

MEGABYTE = 1 << 20


class Receiver(Model):
    """A receiver of OTLP over HTTP: Loki, an OpenTelemetry collector."""

    url: Annotated[
        Url,
        Field(
            description="the whole address", json_schema_extra={"examples": ["http://loki.internal:3100/otlp/v1/logs"]}
        ),
    ]
    ca: Annotated[
        Argument | None,
        Field(description="a file of the CAs that may vouch for it, in mesh.yaml's folder; none: the machine's"),
    ] = None
    tenant: Annotated[HeaderValue | None, Field(description="X-Scope-OrgID, where Loki has several tenants")] = None


class Logging(Model):
    """Access logs and what apps write, in one place: searched by `legation logs`."""

    max_megabytes: Annotated[Integer, Field(ge=1, le=100_000, description="kept on a host; the oldest goes first")] = (
        256
    )
    max_age: Annotated[Interval, Field(description="what is older goes")] = timedelta(days=7)
    mode: Annotated[
        Literal["server", "client_and_server"],
        Field(description="who writes down a request that went well: the proxy of who serves it, or the caller's too"),
    ] = "server"
    sampling: Annotated[
        Share,
        Field(description="per cent of the requests that went well that are kept; those that failed are in any case"),
    ] = 100.0
    generate_request_id: Annotated[
        Boolean,
        Field(description="true: every proxy gives an x-request-id to requests without one, and not the gateway alone"),
    ] = False
    otlp: Annotated[Receiver | None, Field(description="who gets what is kept too")] = None
