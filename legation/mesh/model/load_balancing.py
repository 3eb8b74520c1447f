"""`load_balancing`: how a caller's Envoy chooses among a service's instances."""

from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import HeaderName, Model

Policy = Literal["round_robin", "least_request", "random", "ring_hash", "maglev"]
HASHING: tuple[Policy, ...] = ("ring_hash", "maglev")


class LoadBalancing(Model):
    """Envoy's load balancing policies, by Envoy's names."""

    policy: Policy = "round_robin"
    hash_header: Annotated[
        HeaderName | None,
        Field(description="the header whose value chooses the instance; ring_hash and maglev need it"),
    ] = None
