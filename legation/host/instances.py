"""The instances that run here: brought in line with what a mesh file wants, one `legation run` each."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from legation.host.commands import run_command
from legation.host.desired import InstanceSpec, slots
from legation.host.layout import HostFile
from legation.mesh import names
from legation.runtime.state import StateFolder
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import spawn
from legation.sidecar import report
from legation.sidecar.run import EXIT_REFUSED

log = structlog.get_logger()

STOP_LIMIT = 50.0
"""Seconds: above all limits of a drain together (ACKs 5, idle 25, app 10, Envoy 5)."""


class Instances:
    """Keeps one process an instance."""

    def __init__(self, state: StateFolder, host: HostFile, folder: Path, environ: dict[str, str]) -> None:
        """Prepare; commands run in `folder`, which is mesh.yaml's."""
        self._state, self._host, self._folder, self._environ = state, host, folder, environ
        self._slots: dict[str, int] = {}
        self.components: dict[str, Supervisor] = {}
        self.desired: dict[str, InstanceSpec] = {}

    async def reconcile(
        self,
        desired: tuple[InstanceSpec, ...],
        group: asyncio.TaskGroup,
        changed: Callable[[], None],
        ready: Callable[[str], Awaitable[None]],
    ) -> None:
        """Start what is new, end what is gone, restart what is started differently now.

        Restarts go one at a time, each followed by `ready(instance)`, so that the others serve meanwhile.
        """
        fresh = {w.id: w for w in desired}
        self._slots = slots(desired, self._slots)
        for instance in [i for i in self.desired if i not in fresh]:
            await self._end(instance)
        for instance, new in fresh.items():
            old = self.desired.get(instance)
            failed = instance in self.components and self.components[instance].state == "stopped"
            if old == new and not failed:
                continue
            if old is not None:
                await self._end(instance)
            self._start(new, group, changed)
            if old is not None:
                await ready(instance)

    async def end_all(self) -> None:
        """End every instance, the gateway first, so that no new request comes in."""
        gateways = [i for i, w in self.desired.items() if w.service == names.GATEWAY]
        await asyncio.gather(*(self._end(i) for i in gateways))
        await asyncio.gather(*(self._end(i) for i in list(self.desired)))

    def problem(self, instance: str) -> str | None:
        """Return what is wrong with an instance, from its own report or its exit."""
        component = self.components.get(instance)
        said = report.read(self._state.instance(instance))
        if said is not None and said.problem:
            return said.problem
        if component is not None and component.pid is None and component.exit_code not in {None, 0}:
            words = component.last_words() or "it said nothing"
            return f"{instance}: legation run ended with code {component.exit_code}; {words}"
        return None

    def _start(self, desired: InstanceSpec, group: asyncio.TaskGroup, changed: Callable[[], None]) -> None:
        folder = self._state.instance(desired.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "state.json").unlink(missing_ok=True)
        argv = run_command(self._state, self._host, desired, self._slots[desired.id], self._folder)
        program = Program(
            desired.id,
            lambda: argv,
            folder / "run.log",
            env={**self._environ, **dict(desired.env)},
            final=frozenset({EXIT_REFUSED}),
        )
        component = Supervisor(program, changed)
        self.components[desired.id], self.desired[desired.id] = component, desired
        spawn(group, desired.id, component.keep())

    async def _end(self, instance: str) -> None:
        component = self.components.get(instance)
        if component is not None:
            await component.stop(STOP_LIMIT)
        self.components.pop(instance, None)
        self.desired.pop(instance, None)
