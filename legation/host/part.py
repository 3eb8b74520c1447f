"""One process that the host keeps running."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import structlog

from legation.runtime import process

log = structlog.get_logger()

State = Literal["starting", "running", "restarting", "stopped"]

_FIRST, _LONGEST = 0.1, 10.0
_STEADY = 10.0
_LOG_LIMIT = 16 << 20


class Part:
    """Starts a program, and starts it again when it ends: at once after a clean end, with back-off after a crash."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        final: frozenset[int] = frozenset(),
    ) -> None:
        """Prepare a program: `command` is asked for its arguments before each start.

        An exit code in `final` is not followed by another start.
        """
        self.name, self._command, self._log = name, command, log
        self._env, self._folder, self._final = env, folder, final
        self.restarts = 0
        self.state: State = "starting"
        self.exit_code: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep(self, changed: Callable[[], None]) -> None:
        """Keep the program running until `stop` (or a final exit code); `changed` at each start and end."""
        delay = _FIRST
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            process.bound(self._log, _LOG_LIMIT)
            self._process = await process.start(self._command(), self._log, env=self._env, folder=self._folder)
            self.state = "running"
            changed()
            self.exit_code = await self._process.wait()
            self.state = "restarting"
            changed()
            if self._stopping.is_set() or self.exit_code in self._final:
                break
            log.warning("ended, starting it again", part=self.name, code=self.exit_code)
            self.restarts += 1
            steady = self.exit_code == 0 or loop.time() - started > _STEADY
            delay = _FIRST if steady else min(_LONGEST, delay * 2)
            await self._pause(delay)
        self.state = "stopped"
        changed()

    async def stop(self, limit: float) -> None:
        """End the program for good: SIGTERM, after `limit` seconds SIGKILL."""
        self._stopping.set()
        if self._process is not None and not await process.stop(self._process, limit):
            log.warning("did not end in time, killed", part=self.name, seconds=limit)

    def last_words(self) -> str:
        """Return the end of its log, for messages."""
        return process.tail(self._log, 3)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
