"""Load by h2load (nghttp2): as much as it can for a while, or at one rate with the time of each request."""

import asyncio
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.program import Broken

INSTALL = "not run: h2load is missing: apt-get install nghttp2-client"
CLIENTS, STREAMS = 16, 4
"""Connections, and requests at once on each where the protocol can."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: one request again and again."""

    url: str
    protocol: str
    headers: Mapping[str, str]
    body: Path | None = None

    async def most(self, seconds: int) -> float:
        """Return the requests per second that are answered 2xx, as many as go."""
        return _all_well(await self._run(f"-D{seconds}", self._streams)) / seconds

    async def some(self, requests: int) -> None:
        """Send so many requests, as fast as they go; Broken when one is not answered 2xx."""
        _all_well(await self._run(f"-n{requests}", self._streams))

    async def p99(self, seconds: int, rate: float, log: Path) -> float:
        """Return the time in ms within which 99 of 100 requests are answered, at `rate` requests a second."""
        _all_well(await self._run(f"-D{seconds}", f"--rps={rate / CLIENTS:.0f}", f"--log-file={log}"))
        return quantiles(_times(log), n=100)[-1]

    @property
    def _streams(self) -> str:
        return f"-m{1 if self.protocol == 'http1' else STREAMS}"

    async def _run(self, *how: str) -> str:
        program = shutil.which("h2load")
        if program is None:
            raise Broken(INSTALL)
        process = await asyncio.create_subprocess_exec(
            program, *self._arguments(), *how, self.url, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise Broken(f"h2load ended with {process.returncode}: {said.decode()[-500:]}")
        return said.decode()

    def _arguments(self) -> Sequence[str]:
        found = [f"-c{CLIENTS}", "-t1", *(["--h1"] if self.protocol == "http1" else [])]
        for name, value in self.headers.items():
            found += ["-H", f"{name}: {value}"]
        return [*found, *(["-d", str(self.body)] if self.body else [])]


def _times(log: Path) -> Sequence[float]:
    """Return how long each request took, in ms; the log is gone after that, as h2load would add to it."""
    times = [int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines()]
    log.unlink()
    return times


def _all_well(said: str) -> int:
    """Return how many requests were answered 2xx; Broken when another answer came."""
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    if codes is None or not int(codes[1]) or any(int(codes[n]) for n in (2, 3, 4)):
        raise Broken(f"not every answer was good: {said[-800:]}")
    return int(codes[1])
