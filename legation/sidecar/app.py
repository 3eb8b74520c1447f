"""One instance's app: started when its Envoy is ready, watched, started again when it dies."""

import asyncio
from collections.abc import Callable

import structlog

from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import pause
from legation.sidecar import exposure
from legation.sidecar.exposure import Listening
from legation.sidecar.sockets import all_listening, exposed_listening, inodes_of

log = structlog.get_logger()

_LOOK_FIRST, _LOOK_LAST = 0.02, 0.8
"""Seconds between looks at the listening sockets: an app that is open to all is stopped within a second of its bind.

The kernel has no event for it; it answers a look by itself, with nothing where nothing is open to all."""
_LOOK_GROWTH = 1.1


class Exposed(Exception):
    """The app listens on more than loopback; the text says how to mend it."""


class AppProcess:
    """Keeps one app running until it is stopped; says when it listens and when it dies."""

    def __init__(self, service: str, program: Program, port: int, changed: Callable[[bool], None]) -> None:
        """Prepare an app that is to listen on `port` of loopback; `changed(listens)` is called at each change."""
        self._service, self._port, self._changed = service, port, changed
        self._supervisor = Supervisor(program, self._moved)
        self._started = asyncio.Event()
        self.problem: str | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._supervisor.pid

    async def keep(self) -> None:
        """Run the app until `stop`. Raises Exposed, which ends it for good."""
        watch = asyncio.ensure_future(self._watch())
        keep = asyncio.ensure_future(self._supervisor.keep())
        try:
            await asyncio.wait({watch, keep}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await self._supervisor.stop(0)
                await watch
        finally:
            watch.cancel()
            keep.cancel()

    async def stop(self, limit: float) -> None:
        """End the app for good."""
        await self._supervisor.stop(limit)

    def _moved(self) -> None:
        """Take a start or an end of the process."""
        if self._supervisor.pid is not None:
            self._started.set()
        else:
            self._say_how_it_ended()
        self._changed(False)

    def _say_how_it_ended(self) -> None:
        if self._supervisor.stopping.is_set():
            return
        code, last = self._supervisor.exit_code, self._supervisor.last_words()
        self.problem = f"{self._service}: the app ended with code {code}; its last words: {last or '-'}"
        log.error("app ended", code=code, last=last)

    async def _watch(self) -> None:
        """Say when each life of the app listens; raise Exposed as soon as it does so for more than loopback."""
        while True:
            await self._started.wait()
            self._started.clear()  # before the look: a life may be over that nobody has been told of yet
            await self._watch_one(self._supervisor.pid)

    async def _watch_one(self, pid: int | None) -> None:
        seen: frozenset[Listening] = frozenset()
        listens, wait = False, _LOOK_FIRST
        while pid is not None and self._supervisor.pid == pid:
            found = exposed_listening() if listens else all_listening()
            self._reject_exposed(pid, found - seen)
            seen = found
            if not listens and any(s.port == self._port for s in found):
                listens, self.problem = True, None
                self._changed(True)
            await pause(wait)
            wait = min(_LOOK_LAST, wait * _LOOK_GROWTH)

    def _reject_exposed(self, pid: int, sockets: frozenset[Listening]) -> None:
        """Raise Exposed when one of these sockets is the app's and open to more than loopback."""
        suspects = [s for s in sockets if s.exposed]
        own = inodes_of(pid) if suspects else {}
        if exposed := [s for s in suspects if s.inode in own]:
            raise Exposed(exposure.advice(self._service, exposed))
