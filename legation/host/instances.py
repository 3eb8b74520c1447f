"""The instances that run here: brought in line with what a mesh file wants, one `legation run` each."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from legation.host.commands import run_command
from legation.host.layout import HostFile
from legation.host.part import Part
from legation.host.wanted import Wanted, slots
from legation.mesh import names
from legation.runtime.state import StateFolder
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
        self.parts: dict[str, Part] = {}
        self.wanted: dict[str, Wanted] = {}

    async def align(
        self,
        wanted: tuple[Wanted, ...],
        group: asyncio.TaskGroup,
        changed: Callable[[], None],
        ready: Callable[[str], Awaitable[None]],
    ) -> None:
        """Start what is new, end what is gone, restart what is started differently now.

        Restarts go one at a time, each followed by `ready(instance)`, so that the others serve meanwhile.
        """
        fresh = {w.id: w for w in wanted}
        self._slots = slots(wanted, self._slots)
        for instance in [i for i in self.wanted if i not in fresh]:
            await self._end(instance)
        for instance, new in fresh.items():
            old = self.wanted.get(instance)
            failed = instance in self.parts and self.parts[instance].state == "stopped"
            if old == new and not failed:
                continue
            if old is not None:
                await self._end(instance)
            self._start(new, group, changed)
            if old is not None:
                await ready(instance)

    async def end_all(self) -> None:
        """End every instance, the gateway first, so that no new request comes in."""
        gateways = [i for i, w in self.wanted.items() if w.service == names.GATEWAY]
        await asyncio.gather(*(self._end(i) for i in gateways))
        await asyncio.gather(*(self._end(i) for i in list(self.wanted)))

    def problem(self, instance: str) -> str | None:
        """Return what is wrong with an instance, from its own report or its exit."""
        part = self.parts.get(instance)
        said = report.read(self._state.instance(instance))
        if said is not None and said.problem:
            return said.problem
        if part is not None and part.pid is None and part.exit_code not in {None, 0}:
            return (
                f"{instance}: legation run ended with code {part.exit_code}; {part.last_words() or 'it said nothing'}"
            )
        return None

    def _start(self, wanted: Wanted, group: asyncio.TaskGroup, changed: Callable[[], None]) -> None:
        folder = self._state.instance(wanted.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "state.json").unlink(missing_ok=True)
        argv = run_command(self._state, self._host, wanted, self._slots[wanted.id], self._folder)
        part = Part(
            wanted.id,
            lambda: argv,
            folder / "run.log",
            env={**self._environ, **dict(wanted.env)},
            final=frozenset({EXIT_REFUSED}),
        )
        self.parts[wanted.id], self.wanted[wanted.id] = part, wanted
        spawn(group, wanted.id, part.keep(changed))

    async def _end(self, instance: str) -> None:
        part = self.parts.get(instance)
        if part is not None:
            await part.stop(STOP_LIMIT)
        self.parts.pop(instance, None)
        self.wanted.pop(instance, None)
