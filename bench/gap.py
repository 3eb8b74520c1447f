"""How long an event loop did not come round, as whoever it serves would have noticed."""

from time import perf_counter, process_time

from legation.runtime.tasks import pause

EVERY = 0.002


class Gaps:
    """Watches the loop that it runs on."""

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._longest, self._busiest = 0.0, 0.0

    async def watch(self) -> None:
        """Look at the clock every so often, for ever."""
        while True:
            before, worked = perf_counter(), process_time()
            await pause(EVERY)
            self._longest = max(self._longest, perf_counter() - before - EVERY)
            self._busiest = max(self._busiest, process_time() - worked)

    def take(self) -> tuple[float, float]:
        """Return the longest gap since the last call, and the most CPU time of this process in one; milliseconds.

        The machine may give the process no core for a while: that is in the first, and not in the second.
        """
        taken = self._longest * 1000, self._busiest * 1000
        self._longest, self._busiest = 0.0, 0.0
        return taken
