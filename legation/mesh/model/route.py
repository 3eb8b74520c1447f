"""`routes`: which requests to a service go to which of its versions, and how."""

from typing import Annotated

from pydantic import Field

from legation.mesh.model.action import (
    DEFAULT_TIMEOUT,
    Fault,
    HeaderChanges,
    Mirror,
    Redirect,
    Respond,
    Rewrite,
)
from legation.mesh.model.match import RouteMatch
from legation.mesh.model.retry import RetryPolicy
from legation.mesh.model.tracing import RouteTracing
from legation.mesh.types import Boolean, Duration, Integer, Model, Name

__all__ = ["DEFAULT_TIMEOUT", "Route", "RouteMatch"]


class Route(Model):
    """One row of a service's routes; the first that matches wins."""

    match: RouteMatch = RouteMatch()
    split: Annotated[dict[Name, Annotated[Integer, Field(ge=0, le=100)]], Field(description="version: per cent")] = {}
    timeout: Annotated[Duration, Field(description="limit of the whole request; 0s: none")] = DEFAULT_TIMEOUT
    idle_timeout: Annotated[
        Duration | None, Field(description="limit of silence in a request; 0s: none; 5m where it is not given")
    ] = None
    retry: Annotated[RetryPolicy | None, Field(description="repeat failed requests")] = None
    rewrite: Annotated[Rewrite | None, Field(description="what the app sees in place of what was asked for")] = None
    redirect: Annotated[Redirect | None, Field(description="send the client elsewhere")] = None
    respond: Annotated[Respond | None, Field(description="answer without asking an instance")] = None
    request_headers: Annotated[HeaderChanges | None, Field(description="what the app sees of headers")] = None
    response_headers: Annotated[HeaderChanges | None, Field(description="what the caller sees of headers")] = None
    mirror: Annotated[Mirror | None, Field(description="send a copy to another version")] = None
    websocket: Annotated[Boolean, Field(description="requests may become WebSockets")] = False
    fault: Annotated[Fault | None, Field(description="trouble on purpose")] = None
    tracing: Annotated[RouteTracing | None, Field(description="another share of its requests is traced")] = None

    @property
    def is_answered(self) -> bool:
        """Whether the caller's own proxy answers, so that no instance is asked."""
        return self.redirect is not None or self.respond is not None

    @property
    def reads_path(self) -> bool:
        """Whether what it does depends on the request's path."""
        asks = any(path != "prefix" or self.match.prefix != "/" for path in self.match.paths)
        return asks or self.rewrite is not None or self.redirect is not None
