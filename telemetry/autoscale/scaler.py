"""The loop of autoscaling: look, measure, decide, have it done; what was decided stays on show."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from legation.mesh.model.autoscale import Autoscale
from legation.mesh.model.mesh import Mesh
from legation.runtime.clock import Clock
from legation.runtime.control.messages import Scaling
from legation.runtime.prometheus import Prometheus
from legation.runtime.tasks import pause
from telemetry.autoscale.actuator import Actuator, ActuatorError, Workload
from telemetry.autoscale.decide import Decision, History, Observed, changed, decide, told
from telemetry.autoscale.queries import policies
from telemetry.autoscale.sources import FromPrometheus, Sidecars, Source
from telemetry.changes import Change
from telemetry.inventory import Inventory

log = structlog.get_logger()

Key = tuple[str, str]
"""A service and a version of it."""

PATIENCE = 4
"""Looks in a row without a number that are news: of a new instance there is none for two."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was last seen of a version and decided about it, and what was last changed (`at` is in seconds)."""

    workload: Workload
    policy: Autoscale
    decision: Decision
    history: History
    change: str = ""
    changed_at: float | None = None
    blind_looks: int = 0
    """How many looks in a row lacked something."""


@dataclass(slots=True)
class Scaler:
    """Keeps instances in line with the load, for as long as it runs."""

    inventory: Callable[[], Inventory]
    actuator: Actuator
    clock: Clock
    outcomes: Mapping[Key, Outcome] = field(default_factory=dict)
    problem: str | None = None
    """Why nothing is scaled at all; None: it is."""
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Changes by service, version and direction (`up`, `down`)."""
    note: Callable[[Change], None] = lambda _: None
    """Hears of each change that was carried out."""
    _sidecars: Sidecars = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the source that needs nobody."""
        self._sidecars = Sidecars(lambda: self.inventory().instances or ())

    async def run(self, every: float) -> None:
        """Look every few seconds, for ever."""
        while True:
            mesh = self.inventory().mesh
            if mesh is not None and policies(mesh):
                await self.look(mesh)
            else:
                self.outcomes, self.problem = {}, None
            await pause(every)

    async def look(self, mesh: Mesh) -> None:
        """Take one look at everything that follows the load, and have done what follows from it."""
        known = policies(mesh)
        try:
            workloads = await self.actuator.look(known)
        except ActuatorError as error:
            if self.problem is None:
                log.warning("nothing can be scaled", reason=str(error))
            self.problem = str(error)
            return
        if self.problem is not None:
            log.info("instances can be scaled again")
        self.problem = None
        source = self._source(mesh)
        found = await asyncio.gather(*(self._one(w, known[w.service], source) for w in workloads))
        self.outcomes = {(o.workload.service, o.workload.version): o for o in found}

    async def _one(self, workload: Workload, policy: Autoscale, source: Source) -> Outcome:
        key = workload.service, workload.version
        before = self.outcomes.get(key)
        for direction in ("up", "down"):
            self.counts.setdefault((*key, direction), 0)
        readings = await source.read(workload, policy, self.clock.now())
        observed = Observed(workload.desired, workload.serving, readings)
        now = self.clock.now()
        history = before.history if before is not None else History()
        if before is not None and workload.desired > before.workload.desired:
            history = told(history, workload.desired, now)
        decision, history = decide(policy, observed, history, now)
        looks = _blind_looks(before, decision)
        _tell(workload, before, looks, decision.reason)
        made = Outcome(workload, policy, decision, history, blind_looks=looks)
        if before is not None:
            made = replace(made, change=before.change, changed_at=before.changed_at)
        return await self._act(made, now) if decision.replicas != workload.desired else made

    async def _act(self, outcome: Outcome, now: float) -> Outcome:
        """Have a decision carried out; one that is refused is taken anew with the next look."""
        workload, decision = outcome.workload, outcome.decision
        by = decision.replicas - workload.desired
        about = log.bind(service=workload.service, version=workload.version, instances=workload.desired)
        try:
            await self.actuator.scale(workload, decision.replicas, decision.reason)
        except ActuatorError as error:
            about.warning("not scaled", desired=decision.replicas, reason=str(error))
            refused = replace(decision, reason=f"{decision.reason}; {error}", blind=True)
            return replace(outcome, decision=refused)
        about.info("scaled", desired=decision.replicas, reason=decision.reason)
        self.counts[workload.service, workload.version, "up" if by > 0 else "down"] += 1
        change = f"{workload.desired} to {decision.replicas}: {decision.reason}"
        said = f"{workload.service} {workload.version} scaled from {change}"
        self.note(Change(at=now, kind="scale", service=workload.service, what=said, by="autoscaling"))
        history = changed(outcome.history, by, now)
        workload = replace(workload, desired=decision.replicas)
        return replace(outcome, workload=workload, history=history, change=change, changed_at=now)

    def _source(self, mesh: Mesh) -> Source:
        if mesh.prometheus is None:
            return self._sidecars
        return FromPrometheus(Prometheus(mesh.prometheus.url, limit=5.0), mesh.mesh)

    def shown(self) -> tuple[tuple[Scaling, ...], str | None]:
        """Return what `legation status` shows of each version, and why nothing is scaled at all."""
        return tuple(_shown(outcome, self.problem) for outcome in self.outcomes.values()), self.problem


def _blind_looks(before: Outcome | None, decision: Decision) -> int:
    return (before.blind_looks if before is not None else 0) + 1 if decision.blind else 0


def _tell(workload: Workload, before: Outcome | None, looks: int, reason: str) -> None:
    """Say when something is not known for longer than a new instance needs, and when it is known again."""
    about = log.bind(service=workload.service, version=workload.version)
    if looks == PATIENCE:
        about.warning("load is not known: nothing is taken away", reason=reason)
    elif looks == 0 and before is not None and before.blind_looks >= PATIENCE:
        about.info("load is known", reason=reason)


def _shown(outcome: Outcome, problem: str | None) -> Scaling:
    workload, policy, decision = outcome.workload, outcome.policy, outcome.decision
    return Scaling(
        service=workload.service,
        version=workload.version,
        desired=workload.desired,
        ready=workload.serving,
        minimum=policy.min,
        maximum=policy.max,
        reason=problem or decision.reason,
        blind=problem is not None or decision.blind,
        change=outcome.change,
        changed_at=outcome.changed_at,
    )
