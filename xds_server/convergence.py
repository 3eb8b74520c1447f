"""How long each change takes until the last proxy has answered it. Time is an argument; no I/O.

Each stream keeps the changes that it was told of and has not answered, each change how many streams
those are: an answer costs what the stream itself was told since its last one, whoever else is stuck.
"""

from collections import deque
from dataclasses import dataclass

from xds_server.deliveries import Deliveries

KEPT = 256
"""Changes that are waited for at once; beyond that the oldest are given up, not measured wrongly."""


@dataclass(slots=True)
class _Change:
    began: float
    pending: int = 1
    """Streams without an answer, and one for whoever still tells them."""
    concerned: bool = False
    """Whether any stream was told."""
    traced: Deliveries | None = None


class Convergence:
    """The changes that some stream has not answered yet."""

    def __init__(self) -> None:
        """Start with none."""
        self._changes: dict[int, _Change] = {}
        self._told: dict[int, deque[int]] = {}
        self._last = 0

    def begin(self, now: float, traced: Deliveries | None = None) -> int:
        """Take a change that streams are to be told of; return its number. `now` is in seconds of any clock.

        `traced` hears of each stream by itself.
        """
        self._last += 1
        self._changes[self._last] = _Change(now, traced=traced)
        if len(self._changes) > KEPT:
            self._end(next(iter(self._changes)))
        return self._last

    def told(self, change: int, stream: int, now: float = 0.0) -> None:
        """Take that a stream is told of a change."""
        if (known := self._changes.get(change)) is not None:
            known.pending += 1
            known.concerned = True
            if known.traced is not None:
                known.traced.told[stream] = now
            self._told.setdefault(stream, deque(maxlen=KEPT)).append(change)

    def all_told(self, change: int, now: float) -> tuple[float, ...]:
        """Take that no more streams are to be told of a change; return its seconds if all have answered already.

        A change that concerned nobody is no convergence.
        """
        known = self._changes.get(change)
        if known is not None and not known.concerned:
            self._end(change)
        return self._answered(change, now)

    def answered(self, stream: int, now: float) -> tuple[float, ...]:
        """Take that a stream has answered its newest snapshot, or has ended; return the seconds of changes now done.

        Whoever has the newest has all that lies before it.
        """
        told = self._told.pop(stream, ())
        for change in told:
            if (known := self._changes.get(change)) is not None and known.traced is not None:
                known.traced.answers[stream] = now
        return tuple(seconds for change in told for seconds in self._answered(change, now))

    def _answered(self, change: int, now: float) -> tuple[float, ...]:
        known = self._changes.get(change)
        if known is None:
            return ()
        known.pending -= 1
        if known.pending:
            return ()
        self._end(change)
        return (now - known.began,)

    def _end(self, change: int) -> None:
        ended = self._changes.pop(change)
        if ended.traced is not None:
            ended.traced.is_over = True
