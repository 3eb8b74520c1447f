"""When the garbage collector may look at the whole heap, which holds up the event loop: not while much is being made.

A mesh, and what is compiled from it, is freed as soon as nobody refers to it: it has no cycles. So it is kept out of
collections (`gc.freeze`) but for a sweep now and then, for what else has ended in cycles meanwhile.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from legation.runtime.tasks import pause

SWEEP_EVERY = 600.0
_YOUNG, _MIDDLE, _OLD = 20_000, 10, 10


def in_large_portions() -> None:
    """Collect rarely, for a process in which most lives long or is freed by reference counting.

    With Python's own thresholds the collector took an eighth of the processor time of a change that
    1,000 streams are told of, as that makes tens of thousands of objects.
    """
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


class Collector:
    """The garbage collector of this process."""

    def __init__(self) -> None:
        """Nothing is being made."""
        self._making = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Collect nothing while the block runs; leave what it has made, and all else, to the next sweep."""
        self._making += 1
        gc.disable()
        try:
            yield
        finally:
            self._making -= 1
            if not self._making:
                gc.freeze()
                gc.enable()

    async def sweep(self, every: float = SWEEP_EVERY) -> None:
        """Look at the whole heap every few seconds, for ever; never inside of a paused block."""
        while True:
            await pause(every)
            if not self._making:
                gc.unfreeze()
                gc.collect()
                gc.freeze()
