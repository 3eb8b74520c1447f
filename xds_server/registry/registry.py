"""Which instances there are and which of them take requests. Time is an argument; nothing here waits or writes.

An instance exists while its sidecar's stream does (design §4): the stream's end starts a grace,
after which the instance is withdrawn. When more than half of all ready ones are lost at once it
is we who are cut off, so nobody is withdrawn until some are back or `hold_limit` has passed.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import InstanceState, RestartReason
from xds_server.endpoint import Endpoint
from xds_server.registry.entry import Entry

GRACE = 2.5
"""Seconds; above the longest reconnect back-off (2 s) that our bootstraps set."""

RESTORED_GRACE = 30.0
"""Seconds after our own start, for instances that the store knew."""

HOLD_LIMIT = 300.0
"""Seconds that a mass loss is taken for our own partition."""

STOPGAP_LIMIT = 60.0
"""Seconds that a lost instance stays an endpoint while its version has no ready one: requests wait for its return."""


_by_instance = attrgetter("instance")
"""Ids are unique: they alone order endpoints, and many times faster than whole values do."""


class UnknownInstance(Exception):
    """A transition of an instance (or a life of it) that is not registered."""


class StaleBoot(Exception):
    """A stream of an older life of an instance: the newest boot wins."""


class ForeignId(Exception):
    """A stream under the id of another service's instance, which it would put out of service."""


class Registry:
    """The instances of the mesh. Each change returns the services whose endpoints it changed."""

    def __init__(self) -> None:
        """Start with no instance."""
        self._entries: dict[str, Entry] = {}
        self._of_service: dict[str, dict[str, Entry]] = {}
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._ready: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How many instances of each service and version are ready."""
        self._touched: set[str] = set()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All instances, by id."""
        return self._entries

    @property
    def endpoints_by_service(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """Where each service's requests go, kept up to date; a service without an instance is not in it."""
        return self._endpoints

    def take_touched(self) -> frozenset[str]:
        """Return the ids of instances that came, changed or went since this was last asked."""
        touched, self._touched = frozenset(self._touched), set()
        return touched

    def touch(self, instances: Iterable[str]) -> None:
        """Have these ids returned once more: what was to follow their change has failed."""
        self._touched.update(instances)

    def restore(self, entries: Iterable[Entry], now: float) -> frozenset[str]:
        """Take the instances that the store knew; their sidecars have `RESTORED_GRACE` to come back."""
        return self._put(replace(e, streams=frozenset(), lost_at=now, grace=RESTORED_GRACE) for e in entries)

    def clear(self) -> frozenset[str]:
        """Forget all instances: they were another mesh's."""
        return self._update(dict.fromkeys(self._entries))

    def connected(self, node: InstanceSpec, spiffe_id: str, stream: int) -> frozenset[str]:
        """Take a stream of an instance; StaleBoot when a newer life of it is known, ForeignId when it is another's."""
        known = self._entries.get(node.id)
        if known is not None and known.spiffe_id != spiffe_id:
            raise ForeignId(known.spiffe_id)
        if known is not None and known.node.boot > node.boot:
            raise StaleBoot(node.id)
        same = known is not None and known.node.boot == node.boot
        entry = replace(known, node=node, spiffe_id=spiffe_id) if known and same else Entry(node, spiffe_id)
        return self._put([entry.opened(stream)])

    def disconnected(self, instance: str, stream: int, now: float) -> frozenset[str]:
        """Take the end of a stream."""
        entry = self._entries.get(instance)
        if entry is None or stream not in entry.streams:
            return frozenset()
        return self._put([entry.ended(stream, now, GRACE)])

    def expelled(self, instances: Iterable[str]) -> frozenset[str]:
        """Forget instances at once, with no grace: nobody may call them. Those that may come back are new ones."""
        return self._update({instance: None for instance in instances if instance in self._entries})

    def transition(
        self, instance: str, boot: str, state: InstanceState, envoy_restarts: Mapping[RestartReason, int] | None = None
    ) -> frozenset[str]:
        """Take what an instance's own runner says of it; UnknownInstance for another life of it."""
        entry = self._entries.get(instance)
        if entry is None or entry.node.boot != boot:
            raise UnknownInstance(instance)
        return self._put([replace(entry, state=state, envoy_restarts=envoy_restarts or {})])

    def health(self, instance: str, healthy: bool | None) -> frozenset[str]:
        """Take the result of an instance's own health checks."""
        entry = self._entries.get(instance)
        return self._put([replace(entry, healthy=healthy)]) if entry is not None else frozenset()

    def tick(self, now: float) -> frozenset[str]:
        """Withdraw the instances whose grace is over, unless so many are lost that it is we who are cut off."""
        changed: frozenset[str] = frozenset()
        # Whoever goes may leave the others no longer a mass: look again until nobody is over.
        while over := [instance for instance, deadline in self._deadlines() if now >= deadline]:
            stay = {i: replace(self._entries[i], overdue=True) for i in over if self._stays(self._entries[i])}
            changed |= self._update({**dict.fromkeys(over), **stay}) | {e.node.service for e in stay.values()}
        return changed

    def next_wake(self) -> float | None:
        """Return when to tick next, on the clock that ends of streams are told by, or None."""
        return min((deadline for _, deadline in self._deadlines()), default=None)

    def endpoints(self, service: str) -> tuple[Endpoint, ...]:
        """Return where a service's requests go: each version's ready instances.

        A version without any keeps those that start, restart or are lost, marked so: where a cluster has no other,
        connections to them are refused and tried again until one is ready; an empty cluster would fail at once. A
        container's that ends is kept so too, as it may be replaced: under an address where nobody is.
        """
        return self._endpoints.get(service, ())

    def ready_versions(self, service: str) -> frozenset[str]:
        """Return the versions of a service that have a ready instance."""
        return frozenset(version for version, count in self._ready[service].items() if count)

    def _deadlines(self) -> list[tuple[str, float]]:
        """Return each lost instance and when it is withdrawn."""
        lost = [e for e in self._entries.values() if e.lost_at is not None]
        mass = bool(lost) and self._is_mass_loss()
        return [(e.node.id, self._deadline(e, held=mass and e.state == "ready")) for e in lost]

    def _deadline(self, entry: Entry, *, held: bool) -> float:
        stays = HOLD_LIMIT if held else entry.grace
        return (entry.lost_at or 0.0) + (max(stays, STOPGAP_LIMIT) if entry.overdue and self._is_last(entry) else stays)

    def _stays(self, entry: Entry) -> bool:
        """Say whether an instance whose grace is over stays all the same, as requests wait for its return."""
        return not entry.overdue and self._is_last(entry)

    def _is_last(self, entry: Entry) -> bool:
        """Say whether no other instance of its version is ready, so that its callers have nobody else."""
        others = self._of_service[entry.node.service].values()
        return not entry.leaves and not any(
            o.node.version == entry.node.version and o.state == "ready" and o.lost_at is None for o in others
        )

    def _is_mass_loss(self) -> bool:
        """Say whether more than half of the instances that served are lost."""
        served = [e for e in self._entries.values() if e.state == "ready"]
        lost = sum(e.lost_at is not None for e in served)
        return lost > 1 and 2 * lost > len(served)

    def _put(self, entries: Iterable[Entry]) -> frozenset[str]:
        return self._update({e.node.id: e for e in entries})

    def _update(self, changes: Mapping[str, Entry | None]) -> frozenset[str]:
        """Replace entries (None: drop them); return the services whose endpoints that changed."""
        instances: defaultdict[str, set[str]] = defaultdict(set)
        whole: set[str] = set()
        for instance, new in changes.items():
            if (old := self._entries.pop(instance, None)) is not None:
                self._of_service[old.node.service].pop(instance, None)
                instances[old.node.service].add(instance)
                whole |= self._count(old, -1)
            if new is not None:
                self._entries[instance] = self._of_service.setdefault(new.node.service, {})[instance] = new
                instances[new.node.service].add(instance)
                whole |= self._count(new, 1)
        self._touched.update(changes)
        return frozenset(
            service
            for service, touched in instances.items()
            if (self._recompute(service) if service in whole else self._put_endpoints(service, touched))
        )

    def _count(self, entry: Entry, by: int) -> set[str]:
        """Count a ready instance; return its service if that is the first or the last of its version."""
        if not entry.ready:
            return set()
        ready = self._ready[entry.node.service]
        before = ready[entry.node.version]
        ready[entry.node.version] += by
        return set() if before and before + by else {entry.node.service}

    def _put_endpoints(self, service: str, instances: Iterable[str]) -> bool:
        """Bring some instances' endpoints up to date, where what they are to the others is as before."""
        before = self._endpoints.get(service, ())
        known = before
        for instance in instances:
            at = bisect_left(known, instance, key=_by_instance)
            end = at + (at < len(known) and known[at].instance == instance)
            entry = self._of_service[service].get(instance)
            known = (*known[:at], *((entry.endpoint,) if entry and self._is_listed(entry) else ()), *known[end:])
        if known == before:
            return False
        self._endpoints[service] = known
        return True

    def _is_listed(self, entry: Entry) -> bool:
        versions = self._ready[entry.node.service]
        return entry.ready or (not entry.leaves and not versions[entry.node.version])

    def _recompute(self, service: str) -> bool:
        """Bring a service's endpoints up to date; say whether they changed."""
        fresh = _endpoints(self._of_service[service].values())
        if fresh == self._endpoints.get(service, ()):
            return False
        self._endpoints[service] = fresh
        return True


def _endpoints(entries: Iterable[Entry]) -> tuple[Endpoint, ...]:
    """Return the ready instances, and all of a version without a ready one that do not drain."""
    entries = tuple(entries)
    versions = {e.node.version for e in entries if e.ready}
    known = [e for e in entries if e.ready or (not e.leaves and e.node.version not in versions)]
    return tuple(sorted((e.endpoint for e in known), key=_by_instance))
