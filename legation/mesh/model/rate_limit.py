"""`rate_limit`: how many requests a service takes in a time: each instance by itself, and all of them together."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Boolean, HeaderName, Integer, Interval, Model, Name

Count = Annotated[Integer, Field(ge=1, le=1_000_000_000)]


class LocalRateLimit(Model):
    """A bucket of tokens in each instance's own proxy; a request above it is answered 429."""

    requests: Annotated[Count, Field(description="so many")]
    per: Annotated[Interval, Field(description="in this time")] = timedelta(seconds=1)
    burst: Annotated[Count | None, Field(description="so many at once, after silence; none: as many as requests")] = (
        None
    )


class GlobalLimit(Model):
    """One limit; a request above it is answered 429. Everybody shares it, or each has so many."""

    requests_per_unit: Annotated[Count, Field(description="so many")]
    unit: Annotated[Literal["second", "minute", "hour", "day"], Field(description="in this time")]
    by_caller: Annotated[Boolean, Field(description="each calling service has so many")] = False
    by_source_address: Annotated[Boolean, Field(description="each client's address has so many")] = False
    by_header: Annotated[
        HeaderName | None, Field(description="each value of it has so many; who sends none share them")
    ] = None


class GlobalRateLimit(Model):
    """Limits of all instances together, counted by a service of the mesh: envoyproxy/ratelimit."""

    service: Annotated[Name, Field(description="which service counts; it must be in calls")]
    limits: Annotated[
        tuple[GlobalLimit, ...], Field(min_length=1, description="each of them must leave room for a request")
    ]
    timeout: Annotated[Interval, Field(description="how long it may take")] = timedelta(milliseconds=50)
    failure_mode_deny: Annotated[
        Boolean, Field(description="answer 503 when it, or its Redis, does not answer; false: let requests in")
    ] = False


class RateLimit(Model):
    """Limits of the requests that a service takes."""

    local: Annotated[LocalRateLimit | None, Field(description="in each instance's own proxy")] = None
    global_: Annotated[
        GlobalRateLimit | None, Field(alias="global", description="of all instances together, counted by a service")
    ] = None
