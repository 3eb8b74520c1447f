"""One instance's Envoy: started, watched, started again when it dies."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from legation.runtime import process
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import until
from legation.sidecar.admin import Admin
from legation.sidecar.environment import envoy_environment
from legation.sidecar.settings import RunSettings

log = structlog.get_logger()

_READY_LIMIT = 3600.0
"""Seconds; an Envoy without configuration waits for xds_server, and so do we."""


class EnvoyProcess:
    """Keeps one Envoy running until it is stopped; says when it becomes ready and when it dies."""

    def __init__(self, settings: RunSettings, listener: str, changed: Callable[[bool], None]) -> None:
        """Prepare an Envoy that is ready once the listener whose name begins so is up."""
        self._settings, self._listener, self._changed = settings, listener, changed
        self._socket = settings.state.admin(settings.spec.id)
        self.admin = Admin(self._socket)
        env = envoy_environment(os.environ, settings.spec)
        program = Program("envoy", self._command, settings.files / "access.log", env)
        self._supervisor = Supervisor(program, self._moved)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._supervisor.pid

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
        argv += ["--concurrency", str(self._settings.concurrency)]
        # One drain window for GOAWAY and Connection: close, well inside the 25 s that a drain may take.
        return [*argv, "--drain-time-s", "5", "--drain-strategy", "immediate"]

    def _moved(self) -> None:
        """Take a start or an end of the process."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._changed(False)
        if self._supervisor.pid is not None:
            self._watcher = asyncio.ensure_future(self._say_when_ready())
        elif not self._supervisor.stopping.is_set():
            last = process.tail(Path(self._settings.files / "envoy.log"), 3)
            log.error("envoy ended", code=self._supervisor.exit_code, last=last)

    async def _say_when_ready(self) -> None:
        if await until(lambda: self.admin.is_ready(self._listener), limit=_READY_LIMIT):
            self._changed(True)
