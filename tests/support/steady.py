"""One steady load for many faults: 200 requests a second through a mesh, and beside it the control without one.

Each test asks for its own window of it; what fails between two windows is found by the next one.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.support.load import ROOT, Load, Mixed, Report
from tests.support.load_report import kept_its_rate, of_the_mesh

T = TypeVar("T")
RATE, CONNECTIONS = 200, 50
CONTROL_RATE, CONTROL_CONNECTIONS = 20, 4
LIMIT = 1800


@dataclass
class Window:
    """A part of the load: from before a fault to after it. Times are of `time.monotonic()`."""

    begin: float
    faults: list[float] = field(default_factory=list)
    report: Report = field(default_factory=lambda: Report((), RATE))
    control: Report = field(default_factory=lambda: Report((), CONTROL_RATE))
    idle: float = 1.0
    """Share of the window in which the processors had nothing to do."""

    def fault(self, cause: Callable[[], T]) -> T:
        """Cause a fault, and note when it was over."""
        result = cause()
        self.faults.append(time.monotonic())
        return result

    @property
    def failures(self) -> tuple[Any, ...]:
        """What failed and is the mesh's: what the control suffered too is the machine's."""
        return of_the_mesh(self.report, self.control)

    @property
    def lost_otherwise(self) -> tuple[Any, ...]:
        """What failed though it was sent after the (last) fault: it was not in flight where something was killed."""
        return tuple(record for record in self.failures if record.start > self.faults[-1])

    @property
    def kept_its_rate(self) -> bool:
        """Whether the load was what it should be, as far as the machine can."""
        return kept_its_rate(self.report, self.control, self.idle)

    def summary(self) -> str:
        """Return both reports, for people."""
        in_flight = len(self.failures) - len(self.lost_otherwise) if self.faults else 0
        return (
            f"mesh: {self.report.summary()}\nin flight at the fault: {in_flight}\n"
            f"control: {self.control.summary()}\nprocessors: {self.idle:.0%} idle"
        )


class Steady:
    """Runs both loads in a thread of its own until `stop`."""

    def __init__(self, url: str, mix: Mixed) -> None:
        self._url, self._mix = url, mix
        self._loads: list[Load] = []
        self._stop = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._seen_until = 0.0
        self._last_fault = "before any fault"

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30), "the load has not begun"
        self._seen_until = time.monotonic()

    def stop(self) -> Window:
        """End both; return what came after the last window."""
        self._stop.set()
        self._thread.join(60)
        return self._window(self._seen_until, time.monotonic())

    @contextmanager
    def window(self, name: str, *, before: float = 1.0, after: float = 2.0) -> Iterator[Window]:
        """Give a window from `before` seconds ahead of the block to `after` seconds behind it.

        What failed since the window before is in it too, and is said to have followed that one's fault.
        """
        stray = self._window(self._seen_until, time.monotonic())
        assert not stray.failures, f"failed after {self._last_fault}:\n{stray.summary()}"
        window, idle = Window(time.monotonic()), _idle_seconds()
        self.load_for(before)
        self._last_fault = name
        yield window
        self.load_for(after)
        end = time.monotonic()
        seen = self._window(window.begin, end)
        window.report, window.control = seen.report, seen.control
        window.idle = (_idle_seconds() - idle) / (end - window.begin) / (os.cpu_count() or 1)
        self._seen_until = end
        sys.stdout.write(f"\n{name}: {window.summary()}\n")

    def load_for(self, seconds: float) -> None:
        """Let so many seconds of load pass: a measure of load, and not a wait for something to happen."""
        due = time.monotonic() + seconds
        while time.monotonic() < due and self._thread.is_alive():
            self._stop.wait(0.1)
        assert self._thread.is_alive(), "the load has ended by itself"

    def _window(self, begin: float, end: float) -> Window:
        mesh, control = (load.report.between(begin, end) for load in self._loads)
        return Window(begin, report=mesh, control=control)

    async def _run(self) -> None:
        with control_server() as port:
            plain = Load(f"http://127.0.0.1:{port}", rate=CONTROL_RATE, connections=CONTROL_CONNECTIONS, limit=LIMIT)
            mesh = Load(self._url, rate=RATE, connections=CONNECTIONS, mix=self._mix, limit=LIMIT)
            async with mesh, plain:
                self._loads = [mesh, plain]
                self._started.set()
                await asyncio.to_thread(self._stop.wait)


@contextmanager
def control_server() -> Iterator[int]:
    """Give the port of a small server with no mesh before it."""
    command = [sys.executable, "-m", "tests.support.control_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _idle_seconds() -> float:
    """Return the processor seconds in which nothing ran since the machine's start (proc(5), /proc/stat)."""
    cpu = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return float(cpu[4]) / os.sysconf("SC_CLK_TCK")
