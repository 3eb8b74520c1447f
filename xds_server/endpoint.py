"""Where requests to a service can go: an input of compile beside the mesh."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One instance as its callers see it. Unhealthy ones are sent too, marked so."""

    instance: str
    version: str
    address: str
    port: int
    healthy: bool = True
    zone: str = ""
