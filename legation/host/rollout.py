"""What to start and what to end so that what runs becomes what is desired, and no request is lost. No I/O.

A surge of one (Kubernetes: RollingUpdate with maxSurge 1, maxUnavailable 0): the successor is ready
before its predecessor ends, one at a time in each service, all services at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from legation.mesh.desired import ReplicaSet, WorkloadSpec


@dataclass(frozen=True, slots=True)
class Running:
    """One instance here. `outdated`: it is to be replaced though its spec is right (it was asked to end, or failed)."""

    id: str
    spec: WorkloadSpec
    ready: bool = False
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Start one more instance; `instead_of` is whom it is to succeed, if anybody."""

    spec: WorkloadSpec
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Drain and end an instance."""

    id: str


Action = Start | End


def plan(desired: Sequence[ReplicaSet], running: Sequence[Running]) -> tuple[Action, ...]:
    """Return the next actions; `running` leaves out whoever drains already. Empty: nothing to do before a change."""
    services = dict.fromkeys([*(s.spec.service for s in desired), *(r.spec.service for r in running)])
    return tuple(action for service in services for action in _service(service, desired, running))


def _service(service: str, desired: Iterable[ReplicaSet], running: Iterable[Running]) -> Iterator[Action]:
    sets = [s for s in desired if s.spec.service == service]
    here = [r for r in running if r.spec.service == service]
    specs = {s.spec for s in sets}
    pending = any(not r.ready and not r.outdated and r.spec in specs for r in here)
    for replicas in sets:
        actions = list(_replica_set(replicas, here, pending=pending))
        pending = pending or any(isinstance(action, Start) for action in actions)
        yield from actions
    versions = {s.spec.version for s in sets}
    if all(_is_ready(s, here) for s in sets):
        yield from (End(r.id) for r in here if r.spec.version not in versions)


def _replica_set(replicas: ReplicaSet, here: Iterable[Running], *, pending: bool) -> Iterator[Action]:
    """Yield the actions for one version of a service."""
    mine = [r for r in here if r.spec.version == replicas.spec.version]
    current = [r for r in mine if r.spec == replicas.spec and not r.outdated]
    useless = [r for r in mine if r not in current and not r.ready]
    serving = [r for r in mine if r not in current and r.ready]
    yield from (End(r.id) for r in useless)
    missing = replicas.replicas - len(current) - len(serving)
    yield from (Start(replicas.spec) for _ in range(missing))
    ready = [r for r in current if r.ready]
    if serving and len(ready) + len(serving) > replicas.replicas:
        yield End(serving[0].id)
    elif serving and not pending and len(current) + len(serving) <= replicas.replicas:
        yield Start(replicas.spec, instead_of=serving[0].id)
    # whoever is not ready goes first, then the youngest; who is ready helps as long as predecessors are to end
    by_use = [r for r in current if r.ready] + [r for r in reversed(current) if not r.ready]
    yield from (End(r.id) for r in reversed(by_use[replicas.replicas :]) if not (serving and r.ready))


def _is_ready(replicas: ReplicaSet, here: Iterable[Running]) -> bool:
    """Say whether a version is served as desired, so that versions that are gone may end."""
    current = [r for r in here if r.spec == replicas.spec and r.ready]
    return len(current) >= replicas.replicas
