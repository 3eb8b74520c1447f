"""`locality`: what of a service's instances a caller prefers, by the zone that the caller is in."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xds_server.endpoint import Endpoint

_WHOLE = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a caller is; `callers` counts the callers in each zone, for a fair share: None to fill this zone first."""

    zone: str
    callers: Mapping[str, int] | None = None

    def rank(self, zone: str) -> int:
        """Return which priority a zone has for this caller: 0 comes first."""
        return int(self.callers is None and zone != self.zone)


def count_zones(endpoints: Iterable[Endpoint]) -> Mapping[str, int]:
    """Return how many instances that can work each zone has."""
    return Counter(e.zone for e in endpoints if e.healthy and e.ready)


def shares(zone: str, callers: Mapping[str, int], called: Mapping[str, int]) -> Mapping[str, int]:
    """Return each zone's share of what callers in `zone` send, so that all instances get as much as each other.

    As Envoy's zone-aware routing: all stays here where this zone's share of the instances is not below its share of
    the callers; else what is too much goes where there is room. A share of 1 is left for when a zone fails.
    """
    room = {z: _part(called, z) - _part(callers, z) for z in called}
    if sum(callers.values()) == 0 or callers.get(zone, 0) == 0 or zone not in called:
        return dict(called)
    here = min(1.0, _part(called, zone) / _part(callers, zone))
    spare = sum(r for z, r in room.items() if r > 0 and z != zone) or 1.0
    found = {z: (1 - here) * max(r, 0.0) / spare for z, r in room.items()}
    return {z: max(1, round(_WHOLE * (here if z == zone else found[z]))) for z in called}


def _part(counts: Mapping[str, int], zone: str) -> float:
    return counts.get(zone, 0) / (sum(counts.values()) or 1)
