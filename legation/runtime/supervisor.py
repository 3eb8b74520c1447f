"""One child process that is kept running: the only place that starts a process again."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from legation.runtime import process
from legation.runtime.control.messages import ProcessState, RestartReason
from legation.runtime.tasks import jittered

log = structlog.get_logger()

_BASE, _LIMIT = 0.1, 10.0
_STEADY = 10.0
"""Seconds after which an end is a new incident, not one more of a crash loop."""
_LOG_LIMIT = 16 << 20
_LOOK_EVERY = 15.0
"""Seconds between two looks at the size of a log."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: `command` is asked for its arguments before each start; an exit code in `final` is the last."""

    name: str
    command: Callable[[], Sequence[str]]
    log: Path
    env: Mapping[str, str] | None = None
    folder: Path | None = None
    final: frozenset[int] = field(default_factory=frozenset)
    errors: Path | None = None
    """Where stderr goes; None: to the log as well."""


class Supervisor:
    """Starts a program, and again when it ends: at once after a clean end, with capped full jitter after a crash."""

    def __init__(self, program: Program, changed: Callable[[], None] = lambda: None) -> None:
        """Prepare; `changed` is called after each start and each end."""
        self.program, self._changed = program, changed
        self.restarts_by: Counter[RestartReason] = Counter()
        self._why: RestartReason = "ended"
        self.state: ProcessState = "starting"
        self.exit_code: int | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.stopping = asyncio.Event()
        self._start = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self.process.pid if self.process and self.process.returncode is None else None

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self.restarts_by.total()

    async def keep(self) -> None:
        """Keep the program running until `stop`, or a final exit code."""
        crashes, loop = 0, asyncio.get_running_loop()
        while not self.stopping.is_set():
            started = loop.time()
            await self._once()
            if self.stopping.is_set() or self.exit_code in self.program.final:
                break
            why, self._why = self._why, "ended"
            log.warning("ended, starting it again", program=self.program.name, code=self.exit_code, reason=why)
            self.restarts_by[why] += 1
            steady = self.exit_code == 0 or loop.time() - started > _STEADY
            crashes = 0 if steady else crashes + 1
            await self._wait(_delay(crashes))
        self._become("stopped")

    def replace(self, why: RestartReason) -> None:
        """Kill what runs, for `keep` to start it again: it has not ended and is of no use any more."""
        if self.pid is not None:
            self._why = why
            process.signal_group(self.pid, signal.SIGKILL)

    async def stop(self, limit: float) -> None:
        """End the program for good: SIGTERM, after `limit` seconds SIGKILL."""
        self.stopping.set()
        async with self._start:  # what is just being started has to be ended too
            started = self.process
        if started is not None and not await process.stop(started, limit):
            log.warning("did not end in time, killed", program=self.program.name, seconds=limit)

    def last_words(self) -> str:
        """Return the end of its log, for messages."""
        files = (self.program.errors, self.program.log)
        return next((said for file in files if file is not None and (said := process.last_words(file))), "")

    async def _once(self) -> None:
        """Run the program once, to its end; one that cannot be started has ended with 127 (as in a shell)."""
        program = self.program
        self._bound()
        argv = program.command()
        try:
            async with self._start:
                if self.stopping.is_set():
                    return
                self.process = await process.start(
                    argv, program.log, errors=program.errors, env=program.env, folder=program.folder
                )
        except OSError as error:
            with (program.errors or program.log).open("a") as said:
                said.write(f"cannot start {argv[0]}: {error.strerror}\n")
            self.process, self.exit_code = None, 127
        else:
            self._become("running")
            self.exit_code = await self._end_of(self.process)
        self._become("restarting")

    async def _end_of(self, running: asyncio.subprocess.Process) -> int:
        """Keep its log bounded until it ends; what it has started ends with it, as the next life needs its ports."""
        while True:
            try:
                code = await asyncio.wait_for(running.wait(), _LOOK_EVERY)
            except TimeoutError:
                self._bound()
                continue
            if not self.stopping.is_set():  # else `stop` gives it a moment
                process.signal_group(running.pid, signal.SIGKILL)
            return code

    def _bound(self) -> None:
        for file in filter(None, (self.program.log, self.program.errors)):
            process.bound(file, _LOG_LIMIT)

    def _become(self, state: ProcessState) -> None:
        self.state = state
        self._changed()

    async def _wait(self, seconds: float) -> None:
        """Wait out the back-off, or until `stop`."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


def _delay(crashes: int) -> float:
    """Return the seconds before the next start: but a moment after a clean end."""
    return jittered(_BASE, _LIMIT, crashes) if crashes else _BASE
