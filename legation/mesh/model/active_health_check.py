"""`active_health_check`: callers' proxies ask each instance's proxy whether it can be reached, without any request."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Integer, Interval, Model


class ActiveHealthCheck(Model):
    """Each caller by itself leaves out the instances whose proxies do not answer it."""

    interval: Annotated[Interval, Field(description="how often each caller asks each instance")] = timedelta(seconds=5)
    timeout: Annotated[Interval, Field(description="how long an answer may take")] = timedelta(seconds=1)
    unhealthy_threshold: Annotated[Integer, Field(ge=1, le=100, description="failures in a row until left out")] = 2
    healthy_threshold: Annotated[Integer, Field(ge=1, le=100, description="successes in a row until back")] = 1
