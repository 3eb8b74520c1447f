"""`load_balancing`: how a caller's Envoy chooses among a service's instances."""

from typing import Annotated, Literal

from pydantic import Field

from legation.mesh.types import Boolean, Duration, HeaderName, Integer, Interval, Model

Policy = Literal["round_robin", "least_request", "random", "ring_hash", "maglev"]
HASHING: tuple[Policy, ...] = ("ring_hash", "maglev")
STARTING_SLOWLY: tuple[Policy, ...] = ("round_robin", "least_request")
LocalityMode = Literal["any", "prefer_local", "zone_aware"]


class HashCookie(Model):
    """A cookie whose value chooses the instance."""

    name: HeaderName
    ttl: Annotated[
        Duration | None, Field(description="set the cookie where it is missing, for so long; 0s: for a session")
    ] = None


class LoadBalancing(Model):
    """Envoy's load balancing policies, by Envoy's names."""

    policy: Policy = "round_robin"
    hash_header: Annotated[
        HeaderName | None, Field(description="the header whose value chooses the instance; ring_hash, maglev")
    ] = None
    hash_cookie: Annotated[
        HashCookie | None, Field(description="the cookie whose value chooses the instance; ring_hash, maglev")
    ] = None
    hash_source_address: Annotated[
        Boolean, Field(description="the client's address chooses the instance; ring_hash, maglev")
    ] = False
    slow_start: Annotated[
        Interval | None, Field(description="how long a new instance's share grows; round_robin, least_request")
    ] = None
    locality: Annotated[
        LocalityMode,
        Field(description="prefer_local: other zones only as this one fails; zone_aware: as much here as is fair"),
    ] = "any"
    panic_threshold: Annotated[
        Integer, Field(ge=0, le=100, description="per cent of healthy instances below which all get requests")
    ] = 0

    @property
    def hashes(self) -> bool:
        """Whether something of a request is named that chooses its instance."""
        return self.hash_header is not None or self.hash_cookie is not None or self.hash_source_address
