"""`rate_limit`: how many requests an instance takes in a time."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Integer, Interval, Model

Count = Annotated[Integer, Field(ge=1, le=1_000_000_000)]


class LocalRateLimit(Model):
    """A bucket of tokens in each instance's own proxy; a request above it is answered 429."""

    requests: Annotated[Count, Field(description="so many")]
    per: Annotated[Interval, Field(description="in this time")] = timedelta(seconds=1)
    burst: Annotated[Count | None, Field(description="so many at once, after silence; none: as many as requests")] = (
        None
    )


class RateLimit(Model):
    """Limits of the requests that a service takes."""

    local: Annotated[LocalRateLimit | None, Field(description="in each instance's own proxy")] = None
