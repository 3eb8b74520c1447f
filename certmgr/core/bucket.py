"""A token bucket: how many certificates a host may ask Vault for in a second, with a burst (consul#5228)."""


class Bucket:
    """Fills at `rate` a second up to `burst`; times are arguments."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Start full."""
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, now

    def take(self, now: float) -> float:
        """Take one, and return the seconds to wait until it is there; who comes later waits longer.

        A clock that was stepped back fills nothing, and takes nothing away.
        """
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        self._level -= 1
        return max(0.0, -self._level / self._rate)
