"""`metrics`: what proxies count."""

from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Model


class Metrics(Model):
    """How much each proxy counts, and so how many series a Prometheus holds."""

    profile: Annotated[
        Literal["standard", "full"],
        Field(description="standard: what our queries read; full: all that Envoy can count, ten times as much"),
    ] = "standard"

    @property
    def is_full(self) -> bool:
        """Whether proxies count all that Envoy can."""
        return self.profile == "full"
