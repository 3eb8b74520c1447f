"""`routes`: which requests to a service go to which of its versions, and how."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.model.retry import RetryPolicy
from legation.mesh.types import Duration, HeaderName, HeaderValue, Integer, Method, Model, Name, Path

DEFAULT_TIMEOUT = timedelta(seconds=15)


class RouteMatch(Model):
    """What a request must look like; everything that is given must hold. Empty: every request."""

    path: Annotated[Path | None, Field(description="the whole path, without the query")] = None
    prefix: Annotated[Path | None, Field(description="how the path begins")] = None
    headers: Annotated[dict[HeaderName, HeaderValue], Field(description="exact values of headers")] = {}
    methods: Annotated[tuple[Method, ...], Field(description="one of these methods")] = ()


class Route(Model):
    """One row of a service's routes; the first that matches wins."""

    match: RouteMatch = RouteMatch()
    split: Annotated[dict[Name, Annotated[Integer, Field(ge=0, le=100)]], Field(description="version: per cent")] = {}
    timeout: Annotated[Duration, Field(description="limit of the whole request; 0s: none")] = DEFAULT_TIMEOUT
    retry: Annotated[RetryPolicy | None, Field(description="repeat failed requests")] = None
