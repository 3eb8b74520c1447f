"""One instance's Envoy: started, watched, started again when it dies or hangs."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from legation.runtime import http, process
from legation.runtime.control.messages import RestartReason
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import pause, spawn, until
from legation.sidecar.admin import Admin
from legation.sidecar.environment import envoy_environment
from legation.sidecar.settings import RunSettings
from legation.sidecar.silence import LIMIT, Silence

log = structlog.get_logger()

_READY_LIMIT = 3600.0
"""Seconds; an Envoy without configuration waits for xds_server, and so do we."""


class EnvoyProcess:
    """Keeps one Envoy running until it is stopped; says when it becomes ready, hangs and dies."""

    def __init__(self, settings: RunSettings, listener: str, changed: Callable[[bool], None]) -> None:
        """Prepare an Envoy that is ready once the listener whose name begins so is up.

        `changed(ready)` is called when that, or `problem`, has changed.
        """
        self._settings, self._listener, self._changed = settings, listener, changed
        self._socket = settings.state.admin(settings.spec.id)
        self.admin, self._look = Admin(self._socket), Admin(self._socket, LIMIT)
        self._ready = False
        self.problem: str | None = None
        env = envoy_environment(os.environ, settings.spec)
        program = Program("envoy", self._command, settings.files / "access.log", env)
        self._supervisor = Supervisor(program, self._moved)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._supervisor.pid

    @property
    def restarts(self) -> dict[RestartReason, int]:
        """How often it was started again, by what was wrong."""
        return dict(self._supervisor.restarts_by)

    async def keep(self) -> None:
        """Run Envoy until `stop`."""
        await self._supervisor.keep()

    async def stop(self, limit: float) -> None:
        """End Envoy for good."""
        await self._supervisor.stop(limit)

    def _command(self) -> list[str]:
        """Return how Envoy is started; whatever socket a life before has left is gone."""
        self._socket.unlink(missing_ok=True)
        files = self._settings.files
        argv = [str(self._settings.envoy), "-c", str(files / "bootstrap.json"), "--disable-hot-restart"]
        argv += ["--log-level", "warning", "--log-path", str(files / "envoy.log")]
        argv += ["--file-flush-interval-msec", "1000"]  # by itself 10 s, after which a failed check is old
        argv += ["--concurrency", str(self._settings.concurrency)]
        # One drain window for GOAWAY and Connection: close, well inside the 25 s that a drain may take.
        return [*argv, "--drain-time-s", "5", "--drain-strategy", "immediate"]

    def _moved(self) -> None:
        """Take a start or an end of the process."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._ready = False
        self._changed(False)
        if self._supervisor.pid is not None:
            self._watcher = asyncio.ensure_future(self._watch())
        elif not self._supervisor.stopping.is_set():
            last = process.tail(Path(self._settings.files / "envoy.log"), 3)
            log.error("envoy ended", code=self._supervisor.exit_code, last=last)

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as group:
            spawn(group, "ready", self._say_when_ready())
            spawn(group, "hung", self._replace_when_hung())

    async def _say_when_ready(self) -> None:
        if await until(lambda: self.admin.is_ready(self._listener), limit=_READY_LIMIT):
            self._say(True, None)

    async def _replace_when_hung(self) -> None:
        silence = Silence()
        while not silence.hangs:
            await self._try(silence)
            if silence.problem or self._ready:  # else what was wrong with the life before holds on
                self._say(self._ready, silence.problem)
        log.error("envoy hangs, replacing it", problem=silence.problem)
        self._supervisor.replace("hung")

    async def _try(self, silence: Silence) -> None:
        """See whether Envoy answers anything at all; the next try may come when this returns."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            await self._look.answers()
            silence.heard()
        except http.NotThere:
            silence.heard()
        except http.HttpError:
            silence.missed(clock() - began)
        await pause(began + LIMIT - clock())

    def _say(self, ready: bool, problem: str | None) -> None:
        if (ready, problem) != (self._ready, self.problem):
            self._ready, self.problem = ready, problem
            self._changed(ready)
