"""The only place that reads the clock. Cores take `now` as an argument; shells take it from here."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a shell takes the time from."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch."""
        ...


class SteadyClock(Clock, Protocol):
    """A clock that also measures how long something lasts, whatever is done to the machine's time."""

    def elapsed(self) -> float:
        """Return seconds of a clock that nobody sets, and that stands still while the host is suspended."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch."""
        return time.time()

    def elapsed(self) -> float:
        """Return seconds of a clock that nobody sets, and that stands still while the host is suspended."""
        return time.monotonic()
