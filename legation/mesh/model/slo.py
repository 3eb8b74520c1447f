"""`slo`: what a service promises its callers."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Interval, Model

LATENCY_BUCKETS = tuple(
    timedelta(milliseconds=ms)
    for ms in (5, 10, 25, 50, 100, 200, 250, 300, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000)
)
"""The times that proxies count requests by. They reach beyond the default timeout of 15 s, and a
latency objective's threshold is one of them: between two, nothing is known."""

LOWEST, HIGHEST = 95, 99.999
"""Per cent. Below the lowest a burn rate of 14.4 cannot be reached: it would be more than every request."""

Objective = Annotated[float, Field(strict=True, ge=LOWEST, le=HIGHEST)]


class LatencyObjective(Model):
    """How many requests are answered how soon."""

    threshold: Annotated[Interval, Field(description="answered within this time; one of those that are counted by")]
    objective: Annotated[Objective, Field(description="per cent of the requests", json_schema_extra={"examples": [99]})]


class Slo(Model):
    """Objectives over 30 days, as callers see them: after retries, a request given up counts as failed."""

    availability: Annotated[
        Objective | None,
        Field(description="per cent of the requests that do not fail", json_schema_extra={"examples": [99.9]}),
    ] = None
    latency: LatencyObjective | None = None
