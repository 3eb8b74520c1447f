"""`prometheus`: the team's Prometheus, for what is asked of it: autoscaling, objectives."""

from typing import Annotated

from pydantic import Field

from legation.mesh.types import Model, Url


class Prometheus(Model):
    """Where a Prometheus answers that scrapes this mesh (`legation render prometheus`)."""

    url: Annotated[Url, Field(description="its address, which its API is put behind")]
