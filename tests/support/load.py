"""Load at a constant rate, from a process of its own, while a test does something to the mesh.

    async with Load(gateway, mix=Mixed((Request("GET", "/"), Request("POST", "/orders")))) as load:
        await load.run_for(10)
        ...                                   # the fault
        await load.run_for(30)
    assert load.report.failures == (), load.report.summary()

Half of the requests go over fresh connections; nothing is ever repeated. Print `load.report.summary()`:
it says the rate that was really reached, and what was late or dropped.
"""

import asyncio
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from legation.runtime.tasks import Latest
from tests.support.load_report import Mixed, Record, Report, Request
from tests.support.load_worker import Plan

__all__ = ["Load", "LoadEnded", "Mixed", "Record", "Report", "Request"]

ROOT = Path(__file__).parents[2]
GET = Mixed((Request(),))


class LoadEnded(Exception):
    """The load client's process ended before it was asked to."""


class Load:
    """Requests to `url` in the background, `rate` a second over `connections` at once, each up to `timeout` seconds.

    `mix` is any callable from a request's number to a `Request` that pickle can take (a function of a
    module, or `Mixed`). After `limit` seconds it ends by itself.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float = 200,
        connections: int = 50,
        mix: Callable[[int], Request] = GET,
        timeout: float = 10,
        limit: float = 300,
    ) -> None:
        """Keep the plan; nothing is sent yet."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url!r}: load takes an http:// URL")
        self._plan = Plan(parts.hostname, parts.port or 80, mix, rate, connections, timeout, limit)
        self._records: list[Record] = []
        self._dropped = 0
        self._progress = Latest(0)
        self._ended = False

    async def __aenter__(self) -> Self:
        """Start; return when the first request has ended."""
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(  # noqa: ASYNC220 - forks and is done
            [sys.executable, "-m", "tests.support.load_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=1 << 20,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps(self._plan))
        self._process.stdin.flush()
        # A thread, so that a test that holds up the event loop never holds up the load.
        self._reader = threading.Thread(target=self._read, name="load-reader", daemon=True)
        self._reader.start()
        try:
            await self.until(1)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send no more, wait for what is in flight."""
        await self.stop()

    @property
    def report(self) -> Report:
        """What ended so far."""
        return Report(tuple(self._records), self._plan.rate, self._dropped)

    async def run_for(self, seconds: float) -> None:
        """Wait until another so many seconds' worth of requests has ended."""
        await self.until(len(self._records) + round(seconds * self._plan.rate), seconds * 2 + 30)

    async def until(self, count: int, limit: float = 60) -> None:
        """Wait until so many requests have ended in all; TimeoutError after `limit` seconds, LoadEnded if it ends."""
        async with asyncio.timeout(limit):
            async for ended in self._progress.watch():
                if ended >= count:
                    return
                if self._ended:
                    raise LoadEnded(f"the load ended after {ended} of {count} requests\n{self.report.summary()}")

    async def stop(self) -> None:
        """Send no more, wait for what is in flight, end the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.to_thread(self._reader.join, self._plan.timeout + 5)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    def _read(self) -> None:
        """Take the process's lines until it ends; runs in a thread."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._take(json.loads(line))
        self._ended = True
        self._tell()

    def _take(self, line: dict[str, Any]) -> None:
        """Keep one line's news."""
        if "dropped" in line:
            self._dropped += 1
        else:
            self._records.append(Record(**line))
        self._tell()

    def _tell(self) -> None:
        """Wake who waits, if their loop still runs."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._progress.set, len(self._records))
