"""The order in which an instance ends without losing a request (design §5): a machine without I/O.

Each step is carried out by the shell, which then tells the machine what came of it; the machine
says what is next. Times are seconds, `now` is an argument.
"""

from dataclasses import dataclass
from enum import StrEnum

ACK_LIMIT = 5.0
IDLE_LIMIT = 25.0
APP_LIMIT = 10.0
ENVOY_LIMIT = 5.0
_QUIET_SAMPLES = 2


class Step(StrEnum):
    """What to do now."""

    WITHDRAW = "withdraw"
    DRAIN_LISTENERS = "drain listeners"
    AWAIT_IDLE = "await idle"
    STOP_APP = "stop app"
    STOP_ENVOY = "stop envoy"
    DONE = "done"


_ORDER = tuple(Step)


@dataclass(slots=True)
class Drain:
    """One instance's end."""

    now: float
    step: Step = Step.WITHDRAW
    quiet: int = 0

    def done(self, now: float) -> Step:
        """Take that the step is carried out (or its limit has passed); return the next one."""
        self.step = _ORDER[_ORDER.index(self.step) + 1]
        self.now = now
        return self.step

    def active(self, requests: int, now: float) -> Step:
        """Take a sample of the inbound requests in flight; idle is none, twice in a row.

        Twice, as a worker may still hold the pick of an endpoint that the main thread has dropped.
        """
        if self.step is not Step.AWAIT_IDLE:
            raise AssertionError(f"no samples are due in step {self.step}")
        self.quiet = self.quiet + 1 if requests == 0 else 0
        if self.quiet >= _QUIET_SAMPLES or now - self.now >= IDLE_LIMIT:
            return self.done(now)
        return self.step
