"""What a row of `routes` does with a request, beside choosing who gets it."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import (
    Argument,
    Boolean,
    HeaderName,
    HeaderValue,
    Host,
    Integer,
    Interval,
    Model,
    Name,
    Path,
    Pattern,
    Port,
    Template,
)

Percent = Annotated[Integer, Field(ge=0, le=100)]


class RegexRewrite(Model):
    """A path in which all that matches is replaced."""

    pattern: Annotated[Pattern, Field(description="what to replace (RE2)")]
    substitution: Annotated[HeaderValue, Field(description=r"what to put there; \1 is the first group")]


class Rewrite(Model):
    """What the app sees in place of what was asked for."""

    host: Annotated[Host | None, Field(description="the Host header")] = None
    path: Annotated[Path | None, Field(description="the whole path; the query stays")] = None
    prefix: Annotated[Path | None, Field(description="in place of the prefix that matched")] = None
    template: Annotated[Template | None, Field(description="the path, with the {names} of match.template")] = None
    regex: Annotated[RegexRewrite | None, Field(description="what matches in the path is replaced")] = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Return which fields about the path are given; they exclude each other."""
        return tuple(f for f in ("path", "prefix", "template", "regex") if getattr(self, f) is not None)


class Redirect(Model):
    """Where the client is told to go; what is not given stays as it was asked for."""

    scheme: Annotated[Literal["http", "https"] | None, Field(description="http or https")] = None
    host: Host | None = None
    port: Port | None = None
    path: Annotated[Path | None, Field(description="the whole path; the query stays")] = None
    prefix: Annotated[Path | None, Field(description="in place of the prefix that matched")] = None
    status: Annotated[Integer, Field(ge=301, le=308, description="the answer's status")] = 301
    strip_query: Boolean = False


class Respond(Model):
    """An answer that the proxy gives by itself."""

    status: Annotated[Integer, Field(ge=200, le=599)]
    body: Annotated[Argument, Field(description="text; none: an empty answer")] = ""


class HeaderChanges(Model):
    """What happens to headers: first remove, then set and add."""

    set: Annotated[dict[HeaderName, HeaderValue], Field(description="in place of what is there")] = {}
    add: Annotated[dict[HeaderName, HeaderValue], Field(description="beside what is there")] = {}
    remove: tuple[HeaderName, ...] = ()


class Mirror(Model):
    """A copy of requests whose answers nobody waits for."""

    version: Annotated[Name, Field(description="the version of the service that gets copies")]
    percent: Annotated[Percent, Field(description="of the requests")] = 100


class Delay(Model):
    """Requests that wait before they are sent."""

    duration: Annotated[Interval, Field(description="how long")]
    percent: Annotated[Percent, Field(description="of the requests")] = 100


class Abort(Model):
    """Requests that fail without being sent."""

    status: Annotated[Integer | None, Field(ge=200, le=599, description="an HTTP status")] = None
    grpc_status: Annotated[Integer | None, Field(ge=0, le=16, description="a gRPC status; in place of status")] = None
    percent: Annotated[Percent, Field(description="of the requests")] = 100


class Fault(Model):
    """Trouble on purpose, made by the callers' own proxies."""

    delay: Annotated[Delay | None, Field(description="let requests wait")] = None
    abort: Annotated[Abort | None, Field(description="let requests fail")] = None
    headers: Annotated[dict[HeaderName, HeaderValue], Field(description="only requests with these exact headers")] = {}


DEFAULT_TIMEOUT = timedelta(seconds=15)
