"""One instance's app: started when its Envoy is ready, watched, started again when it dies."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from legation.runtime import process
from legation.runtime.tasks import backoff, pause, until
from legation.sidecar import exposure
from legation.sidecar.sockets import all_listening, inodes_of

log = structlog.get_logger()

_LOOK_EVERY = 0.4
"""Seconds between looks at the app's sockets: an app that is open to all is stopped within a second of its bind."""

_STEADY = 10.0
"""Seconds after which a death is a new incident, not one more of a crash loop."""


class Exposed(Exception):
    """The app listens on more than loopback; the text says how to mend it."""


class AppProcess:
    """Keeps one app running until it is stopped; says when it listens and when it dies."""

    def __init__(
        self, service: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path | None, log: Path, port: int
    ) -> None:
        """Prepare an app that is to listen on `port` of loopback."""
        self._service, self._command, self._env, self._folder = service, command, env, folder
        self._log, self._port = log, port
        self.process: asyncio.subprocess.Process | None = None
        self.problem: str | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def keep(self, changed: Callable[[bool], None]) -> None:
        """Run the app until `stop`; `changed(listens)` at each start and end, and once it listens.

        Raises Exposed, which ends it for good.
        """
        loop = asyncio.get_running_loop()
        while not self._stopping:
            async for _ in backoff(0.05, 10.0):
                if self._stopping:
                    return
                started = loop.time()
                await self._once(changed)
                if loop.time() - started > _STEADY:
                    break

    async def stop(self, limit: float) -> None:
        """End the app for good."""
        self._stopping = True
        if self.process is not None:
            await process.stop(self.process, limit)

    async def _once(self, changed: Callable[[bool], None]) -> None:
        """Run the app once, to its end."""
        try:
            self.process = await process.start(self._command, self._log, env=self._env, folder=self._folder)
        except OSError as error:
            self.problem = f"{self._service}: cannot start {self._command[0]}: {error.strerror}; mend its command"
            log.warning("app cannot start", command=self._command[0], error=error.strerror)
            return
        changed(False)
        ended = asyncio.ensure_future(self.process.wait())
        watch = asyncio.ensure_future(self._watch(changed))
        await asyncio.wait({ended, watch}, return_when=asyncio.FIRST_COMPLETED)
        refused = watch.exception() if watch.done() else None
        if refused is not None:
            self.process.kill()
        watch.cancel()
        code = await ended
        changed(False)
        if refused is not None:
            raise refused
        self._say_how_it_ended(code)

    def _say_how_it_ended(self, code: int) -> None:
        if self._stopping:
            return
        last = process.tail(self._log, 3)
        self.problem = f"{self._service}: the app ended with code {code}; its last words: {last or '-'}"
        log.error("app ended", code=code, last=last)

    async def _watch(self, changed: Callable[[bool], None]) -> None:
        """Say when the app listens; raise Exposed as soon as it does so for more than loopback."""
        seen: frozenset[exposure.Listening] = frozenset()
        listens = False
        while True:
            now = all_listening()
            self._refuse_exposed(now - seen)
            seen = now
            if not listens and await until(self._accepts, limit=_LOOK_EVERY, every=0.02):
                listens = True
                self.problem = None
                changed(True)
            elif listens:
                await pause(_LOOK_EVERY)

    def _refuse_exposed(self, sockets: frozenset[exposure.Listening]) -> None:
        """Raise Exposed when one of these sockets is the app's and open to more than loopback."""
        suspects = [s for s in sockets if s.exposed]
        if not suspects or self.process is None:
            return
        own = inodes_of(self.process.pid)
        if exposed := [s for s in suspects if s.inode in own]:
            raise Exposed(exposure.advice(self._service, exposed))

    async def _accepts(self) -> bool:
        """Say whether the app takes connections on its port."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True
