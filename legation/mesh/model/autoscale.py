"""`autoscale`: between which bounds the instances of a service follow its load.

What happens is what Kubernetes's HPA v2 does: desired = ceil(current x metric / target), with a tolerance, at
once when there is more to do, and late when there is less. https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Integer, Interval, Model

Metric = Literal["requests_per_second", "in_flight", "latency", "cpu"]
METRICS: tuple[Metric, ...] = ("requests_per_second", "in_flight", "latency", "cpu")

REQUEST_METRICS: tuple[Metric, ...] = ("requests_per_second", "in_flight", "latency")
"""Those that a service has which serves requests."""

LONGEST_STABILIZATION = timedelta(hours=1)
"""What an HPA takes: stabilizationWindowSeconds is 3600 at most."""

LONGEST_COOLDOWN = timedelta(minutes=30)
"""What an HPA takes: periodSeconds is 1800 at most."""

Count = Annotated[Integer, Field(ge=1, le=100)]
Rate = Annotated[float, Field(strict=True, ge=0.001, le=1_000_000)]


class Autoscale(Model):
    """Bounds and targets; of several targets, the one that asks for the most instances decides."""

    min: Annotated[Count, Field(description="never fewer instances, of each version")] = 1
    max: Annotated[Count, Field(description="never more")]
    requests_per_second: Annotated[
        Rate | None, Field(description="so many each instance is to serve", json_schema_extra={"examples": [200]})
    ] = None
    in_flight: Annotated[
        Rate | None, Field(description="on so many each is to work at once", json_schema_extra={"examples": [10]})
    ] = None
    latency: Annotated[Interval | None, Field(description="95 % of its requests take no longer")] = None
    cpu: Annotated[
        Rate | None,
        Field(description="per cent of one core that each is to use", json_schema_extra={"examples": [70]}),
    ] = None
    stabilization_window: Annotated[
        Interval, Field(description="as few as in none of its moments are taken away; 1h at most")
    ] = timedelta(minutes=5)
    cooldown: Annotated[
        Interval,
        Field(
            description="twice as many, or four more, in this time; none fewer this soon after a change; 30m at most"
        ),
    ] = timedelta(seconds=15)

    def targets(self) -> Iterator[tuple[Metric, float]]:
        """Yield each metric that decides with its target: requests, requests, seconds and cores."""
        if self.requests_per_second is not None:
            yield "requests_per_second", self.requests_per_second
        if self.in_flight is not None:
            yield "in_flight", self.in_flight
        if self.latency is not None:
            yield "latency", self.latency.total_seconds()
        if self.cpu is not None:
            yield "cpu", self.cpu / 100
