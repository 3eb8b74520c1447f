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
CLOSE_LIMIT = 5.0
"""Seconds that connections have to end, once no request is in flight."""
_QUIET_SAMPLES = 2


class Step(StrEnum):
    """What to do now."""

    WITHDRAW = "withdraw"
    DRAIN_LISTENERS = "drain listeners"
    STOP_ACCEPTING = "stop accepting"
    AWAIT_IDLE = "await idle"
    STOP_APP = "stop app"
    STOP_ENVOY = "stop envoy"
    DONE = "done"


SIDECAR = tuple(step for step in Step if step is not Step.STOP_ACCEPTING)
"""Callers let go of a sidecar's endpoint, so that nobody connects any more."""

GATEWAY = tuple(step for step in Step if step is not Step.STOP_APP)
"""Nobody tells clients: other gateways take over the port, and this one stops accepting."""


@dataclass(slots=True)
class Drain:
    """One instance's end, step by step through `order`."""

    now: float
    order: tuple[Step, ...] = SIDECAR
    step: Step = Step.WITHDRAW
    quiet: int = 0
    idle_since: float = 0.0

    def done(self, now: float) -> Step:
        """Take that the step is carried out (or its limit has passed); return the next one."""
        self.step = self.order[self.order.index(self.step) + 1]
        self.now = now
        return self.step

    def active(self, requests: int, connections: int, now: float) -> Step:
        """Take a sample of what is in flight; idle is no request, twice in a row, and no connection.

        Twice, as a worker may still hold the pick of an endpoint that the main thread has dropped. A connection
        may be one in its TLS handshake, for which a request waits at the caller; callers close the idle ones of an
        endpoint that is gone (Envoy: connection pooling), clients of a gateway may not.
        """
        if self.step is not Step.AWAIT_IDLE:
            raise AssertionError(f"no samples are due in step {self.step}")
        self.quiet = self.quiet + 1 if requests == 0 else 0
        if self.quiet == 1:
            self.idle_since = now
        held = connections > 0 and now - self.idle_since < CLOSE_LIMIT
        if (self.quiet >= _QUIET_SAMPLES and not held) or now - self.now >= IDLE_LIMIT:
            return self.done(now)
        return self.step
