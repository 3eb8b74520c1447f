"""What a piece of our own work did, step by step: noted while it is done, made into spans once it is over.

A trail knows no receiver and no library: the work is the same whether or not anybody looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_LONGEST_REASON = 1000
"""Characters of a failure that are kept: a mesh file may have many violations."""


@dataclass(slots=True)
class Step:
    """A piece of work: from when to when (seconds since the epoch), what is known of it, and its own steps."""

    name: str
    start: float
    end: float | None = None
    said: dict[str, str | int | float | bool] = field(default_factory=dict)
    failure: str | None = None
    steps: list["Step"] = field(default_factory=list)

    def size(self) -> int:
        """Return how many steps it is, itself among them."""
        return 1 + sum(step.size() for step in self.steps)

    def fail(self, reason: str) -> None:
        """Note that it came to nothing, and why."""
        self.failure = reason[:_LONGEST_REASON]


class Trail:
    """One piece of work from its first step to its last; steps begin and end one inside the other."""

    def __init__(self, name: str, clock: Callable[[], float], start: float | None = None) -> None:
        """Begin now, or in the past; `clock` returns seconds since the epoch."""
        self._clock = clock
        self.root = Step(name, clock() if start is None else start)
        self._open = [self.root]

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Note a step while the block runs; what it raises is why the step failed."""
        step = Step(name, self._clock())
        self._open[-1].steps.append(step)
        self._open.append(step)
        try:
            yield step
        except BaseException as error:
            step.fail(str(error) or type(error).__name__)
            raise
        finally:
            self._open.remove(step)
            step.end = self._clock()

    def finish(self) -> Step:
        """End it now; return all of it."""
        self.root.end = self._clock()
        return self.root
