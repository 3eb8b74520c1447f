"""`health_check`: how each sidecar asks its own app whether it is well."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Integer, Interval, Model, Path


class HealthCheck(Model):
    """An HTTP GET of `path` (http), or grpc.health.v1 (grpc, without a path)."""

    path: Annotated[Path | None, Field(description="what to GET; 200 is healthy. http only, and needed there")] = None
    interval: Interval = timedelta(seconds=1)
    timeout: Interval = timedelta(seconds=1)
    unhealthy_threshold: Annotated[
        Integer,
        Field(
            ge=1, le=100, description="checks in a row that find no answer until unhealthy; one that says so is at once"
        ),
    ] = 2
    healthy_threshold: Annotated[Integer, Field(ge=1, le=100, description="successes in a row until healthy")] = 1
