"""The embedded OpenBaos of a host: as many as certmgr wants, one as a rule, two while one follows the other."""

import asyncio
import shutil
from collections.abc import Callable

import structlog

from legation.host import commands
from legation.host.layout import HostFile
from legation.runtime import embedded
from legation.runtime.state import StateFolder
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import spawn

log = structlog.get_logger()

STOP_LIMIT = 8.0
"""Seconds that one of our own processes may take to end."""


class OpenBaos:
    """Keeps those running that are desired; one that is not desired any more ends, and its data with it."""

    def __init__(self, state: StateFolder, host: HostFile, changed: Callable[[], None]) -> None:
        """Prepare; nothing runs yet."""
        self._state, self._host, self._changed = state, host, changed
        self._group: asyncio.TaskGroup | None = None
        self._ending: set[str] = set()
        self.running: dict[str, Supervisor] = {}
        """By name, the one in use first."""

    def open(self, group: asyncio.TaskGroup) -> None:
        """Start those that are desired, in a group; what is left of others is removed."""
        self._group = group
        desired = {self._state.openbao(number) for number in embedded.desired(self._state)}
        for left in set(self._state.root.glob("openbao*")) - desired:
            shutil.rmtree(left, ignore_errors=True)
        self.look()

    def close(self) -> None:
        """Start none any more."""
        self._group = None

    def look(self) -> None:
        """Look which are desired now, start those that are missing and end the others."""
        if self._group is None:
            return
        desired = {self._state.openbao(number).name: number for number in embedded.desired(self._state)}
        for name in [name for name in self.running if name not in desired]:
            self._ending.add(name)
            spawn(self._group, f"end {name}", self._end(name, self.running.pop(name)))
        kept = dict(self.running)
        for name, number in desired.items():
            if name not in kept and name not in self._ending:
                kept[name] = self._start(self._group, name, number)
        self.running = {name: kept[name] for name in desired if name in kept}

    def _start(self, group: asyncio.TaskGroup, name: str, number: int) -> Supervisor:
        def command() -> list[str]:
            return commands.openbao_command(self._state, self._host, number)

        made = Supervisor(Program(name, command, self._state.logs / f"{name}.log"), self._changed)
        spawn(group, name, made.keep())
        return made

    async def _end(self, name: str, supervisor: Supervisor) -> None:
        log.info("no longer needed: it ends, and its data is removed", program=name)
        await supervisor.stop(STOP_LIMIT)
        await asyncio.to_thread(shutil.rmtree, self._state.root / name, ignore_errors=True)
        (self._state.run / f"{name}.sock").unlink(missing_ok=True)
        self._ending.discard(name)
        self._changed()
