"""Whether an Envoy hangs: silent in so many tries, all of which ran in time, that nothing else explains it. No I/O."""

LIMIT = 5.0
"""Seconds that each try waits for an answer, and from one to the next."""
TRIES = 6
"""In a row: half a minute, as one that is replaced loses what it has in flight."""
_TOLD_FROM = 2
_LATE = 1.0
"""Seconds. A try that took so much longer than it was to says that we were stopped, or had no processor to run on."""


class Silence:
    """Counts the tries in a row that an Envoy has not answered."""

    def __init__(self) -> None:
        """Nothing has been tried."""
        self._tries = 0

    def heard(self) -> None:
        """Take an answer, or that nobody is there who could give one."""
        self._tries = 0

    def missed(self, took: float) -> None:
        """Take a try without an answer, and the seconds that it really took."""
        self._tries = self._tries + 1 if took <= LIMIT + _LATE else 0

    @property
    def hangs(self) -> bool:
        """Whether the Envoy is to be replaced."""
        return self._tries >= TRIES

    @property
    def problem(self) -> str | None:
        """What to tell whoever looks; None while there is nothing to worry about."""
        if self._tries < _TOLD_FROM:
            return None
        silent = f"its Envoy has not answered for {self._tries * LIMIT:.0f} s"
        return f"{silent}; it is replaced" if self.hangs else f"{silent}; after {TRIES * LIMIT:.0f} s it is replaced"
