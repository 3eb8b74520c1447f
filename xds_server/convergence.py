"""How long each change takes until the last proxy has answered it. Time is an argument; no I/O."""

from collections.abc import Iterable

_KEPT = 256
"""Changes that are waited for at once; beyond that the oldest are given up, not measured wrongly."""


class Convergence:
    """The changes that some stream has not answered yet."""

    def __init__(self) -> None:
        """Start with none."""
        self._open: list[tuple[float, set[int]]] = []

    def began(self, streams: Iterable[int], now: float) -> None:
        """Take a change that these streams are to be told of; `now` is in seconds of any clock."""
        waiting = set(streams)
        if waiting:
            self._open = [*self._open[-_KEPT + 1 :], (now, waiting)]

    def answered(self, stream: int, now: float) -> tuple[float, ...]:
        """Take that a stream has answered its newest snapshot, or has ended; return the seconds of changes now done.

        Whoever has the newest has all that lies before it.
        """
        for _, waiting in self._open:
            waiting.discard(stream)
        done = tuple(now - began for began, waiting in self._open if not waiting)
        if done:
            self._open = [change for change in self._open if change[1]]
        return done
