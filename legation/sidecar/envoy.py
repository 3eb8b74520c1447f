"""One instance's Envoy: started, watched, started again when it dies."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from legation.runtime import binaries, process
from legation.runtime.tasks import backoff, until
from legation.sidecar.admin import Admin

log = structlog.get_logger()

_READY_LIMIT = 3600.0
"""Seconds; an Envoy without configuration waits for xds_server, and so do we."""


class EnvoyProcess:
    """Keeps one Envoy running until it is stopped; says when it becomes ready and when it dies."""

    def __init__(self, bootstrap: Path, admin: Path, folder: Path, *, listener: str, concurrency: int) -> None:
        """Prepare an Envoy that is ready once the listener whose name begins so is up."""
        self._bootstrap, self._admin_path, self._folder = bootstrap, admin, folder
        self._listener, self._concurrency = listener, concurrency
        self.admin = Admin(admin)
        self.process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def keep(self, changed: Callable[[bool], None]) -> None:
        """Run Envoy until `stop`; `changed(ready)` at each start and end."""
        async for attempt in backoff(0.1, 5.0):
            if self._stopping:
                return
            if attempt:
                log.warning("envoy died, starting it again", attempt=attempt)
            self.process = await self._start()
            changed(False)
            watcher = asyncio.ensure_future(self._say_when_ready(changed))
            code = await self.process.wait()
            watcher.cancel()
            changed(False)
            if self._stopping:
                return
            log.error("envoy ended", code=code, last=process.tail(self._folder / "envoy.log", 3))

    async def stop(self, limit: float) -> None:
        """End Envoy for good."""
        self._stopping = True
        if self.process is not None:
            await process.stop(self.process, limit)

    async def _start(self) -> asyncio.subprocess.Process:
        self._admin_path.unlink(missing_ok=True)
        argv = [str(binaries.envoy()), "-c", str(self._bootstrap), "--disable-hot-restart", "--log-level", "warning"]
        argv += ["--concurrency", str(self._concurrency), "--log-path", str(self._folder / "envoy.log")]
        # One drain window for GOAWAY and Connection: close, well inside the 25 s that a drain may take.
        argv += ["--drain-time-s", "5", "--drain-strategy", "immediate"]
        return await process.start(argv, self._folder / "access.log")

    async def _say_when_ready(self, changed: Callable[[bool], None]) -> None:
        if await until(lambda: self.admin.is_ready(self._listener), limit=_READY_LIMIT):
            changed(True)
