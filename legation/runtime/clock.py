"""The only place that reads the clock. Cores take `now` as an argument; shells take it from here."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a shell takes the time from."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch."""
        return time.time()
