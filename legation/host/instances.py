"""The instances that run here: brought in line with what is desired, one `legation run` each."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from legation.host import rollout
from legation.host.commands import run_command
from legation.host.desired import free_slot, instance_id
from legation.host.layout import HostFile
from legation.host.rollout import End, Running, Start
from legation.mesh import names
from legation.mesh.desired import ReplicaSet, WorkloadSpec
from legation.runtime.control.messages import Instance
from legation.runtime.state import StateFolder
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import spawn
from legation.sidecar import report
from legation.sidecar.environment import handed_to_app
from legation.sidecar.run import EXIT_REJECTED

log = structlog.get_logger()

STOP_LIMIT = 50.0
"""Seconds: above all limits of a drain together (ACKs 5, idle 25, app 10, Envoy 5)."""


@dataclass(slots=True)
class Slot:
    """One instance of this host: what it is, its process, and whether it drains."""

    spec: WorkloadSpec
    number: int
    supervisor: Supervisor
    instead_of: str | None = None
    outdated: bool = False
    ending: bool = False


class Instances:
    """Keeps one process an instance."""

    def __init__(self, state: StateFolder, folder: Path, environ: Mapping[str, str]) -> None:
        """Prepare; commands run in `folder`, which is mesh.yaml's. `open` comes first."""
        self._state, self._folder, self._environ = state, folder, environ
        self._last_slot = -1
        self.slots: dict[str, Slot] = {}

    def open(self, group: asyncio.TaskGroup) -> None:
        """Run instances in tasks of a group."""
        self._group = group

    def reconcile(
        self,
        desired: Iterable[ReplicaSet],
        known: Mapping[str, Instance],
        host: HostFile,
        *,
        changed: Callable[[], None],
        before_end: Callable[[str], asyncio.Future[None]],
    ) -> None:
        """Take the next steps towards what is desired; `known` is the registry. Nothing here waits.

        `before_end(service)` is awaited before an instance of a service ends that has a successor.
        """
        for action in rollout.plan(tuple(desired), self.running(known)):
            match action:
                case Start():
                    self._start(action, host, changed)
                case End():
                    self._begin_end(action.id, changed, before_end)

    def running(self, known: Mapping[str, Instance]) -> list[Running]:
        """Return the instances that do not end; `known` is the registry."""
        return [self._running(i, slot, known.get(i)) for i, slot in self.slots.items() if not slot.ending]

    def outdate(self, instance: str) -> bool:
        """Have an instance replaced; say whether it is one that waits for a successor."""
        slot = self.slots.get(instance)
        if slot is None or slot.ending:
            return False
        slot.outdated = True
        return True

    def outdate_failed(self) -> None:
        """Have those started anew that have ended for good: the mesh file is another now."""
        for slot in self.slots.values():
            slot.outdated = slot.outdated or slot.supervisor.state == "stopped"

    async def end_all(self) -> None:
        """End every instance, the gateways first, so that no new request comes in."""
        gateways = [i for i, slot in self.slots.items() if slot.spec.service == names.GATEWAY]
        await asyncio.gather(*(self._end(i) for i in gateways))
        await asyncio.gather(*(self._end(i) for i in list(self.slots)))

    def problem(self, instance: str) -> str | None:
        """Return what is wrong with an instance, from its own report or its exit, and who serves meanwhile."""
        slot = self.slots.get(instance)
        said = report.read(self._state.instance(instance))
        problem = said.problem if said is not None else None
        if slot is not None and problem is None:
            problem = _exit(instance, slot.supervisor)
        if slot is not None and problem is not None and slot.instead_of in self.slots:
            return f"{instance}: {slot.instead_of} serves on until this successor is healthy; {problem}"
        return problem

    def _running(self, instance: str, slot: Slot, known: Instance | None) -> Running:
        said = report.read(self._state.instance(instance))
        current = known is not None and said is not None and known.spec.boot == said.spec.boot
        ready = known is not None and current and known.serves and slot.supervisor.pid is not None
        return Running(instance, slot.spec, ready=ready, outdated=slot.outdated)

    def _start(self, action: Start, host: HostFile, changed: Callable[[], None]) -> None:
        spec = action.spec
        instance = instance_id(spec, self.slots)
        self._last_slot = free_slot((slot.number for slot in self.slots.values()), self._last_slot)
        folder = self._state.instance(instance)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "state.json").unlink(missing_ok=True)
        argv = run_command(self._state, host, spec, instance, self._last_slot, self._folder)
        env = {**self._environ, **handed_to_app(dict(spec.env))}
        program = Program(instance, lambda: argv, folder / "run.log", env=env, final=frozenset({EXIT_REJECTED}))
        slot = Slot(spec, self._last_slot, Supervisor(program, changed), action.instead_of)
        self.slots[instance] = slot
        log.info("instance starts", instance=instance, instead_of=action.instead_of)
        spawn(self._group, instance, slot.supervisor.keep())

    def _begin_end(
        self, instance: str, changed: Callable[[], None], before_end: Callable[[str], asyncio.Future[None]]
    ) -> None:
        slot = self.slots[instance]
        slot.ending = True

        async def end() -> None:
            with contextlib.suppress(TimeoutError):
                await before_end(slot.spec.service)
            await self._end(instance)
            changed()

        spawn(self._group, f"end {instance}", end())

    async def _end(self, instance: str) -> None:
        """Drain and end one instance; nothing of it is left but its logs."""
        slot = self.slots.get(instance)
        if slot is None:
            return
        slot.ending = True
        log.info("instance ends", instance=instance)
        await slot.supervisor.stop(STOP_LIMIT)
        (self._state.instance(instance) / "state.json").unlink(missing_ok=True)
        self.slots.pop(instance, None)


def _exit(instance: str, supervisor: Supervisor) -> str | None:
    if supervisor.pid is None and supervisor.exit_code not in {None, 0}:
        words = supervisor.last_words() or "it said nothing"
        return f"{instance}: legation run ended with code {supervisor.exit_code}; {words}"
    return None
