"""Where requests to a service can go: an input of compile beside the mesh."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One instance as its callers see it. Unhealthy ones are sent too, marked so.

    One that is not `ready` starts, restarts or is lost: it is sent where a cluster has no other, so that requests
    are tried again until it is ready.
    """

    instance: str
    version: str
    address: str
    port: int
    healthy: bool = True
    zone: str = ""
    ready: bool = True
