"""When each identity is due: at half of its life, or, after a failure, when its back-off ends.

Times are wall-clock seconds since the epoch and arguments, so is all chance. Nothing here counts
on a timer being punctual: after a suspend or a step of the clock, the next `tick` says what holds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

BACKDATE = 60
"""Seconds by which the CA dates `not_before` back, against clocks that are behind (research: istio#32176)."""

_OWN = 0.8
"""Share of the jitter that is an identity's own place."""

_FIRST_RETRY = 1.0
_SHORTEST_RETRY = 0.2
_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One identity's place in the schedule. `due` is None while an attempt is under way."""

    ttl: int
    due: float | None
    not_before: float | None = None
    not_after: float | None = None
    failures: int = 0
    error: str | None = None
    again: bool = False


def jitter(host: str, name: str, roll: float) -> float:
    """Return how a renewal is moved, -1 to 1: mostly by its own place, ever the same on a host.

    So hosts that have begun together spread, and stay spread; the rest is chance (`roll` is 0 to 1).
    """
    own = int.from_bytes(sha256(f"{host}/{name}".encode()).digest()[:8]) / 2**64
    return _OWN * (2 * own - 1) + (1 - _OWN) * (2 * roll - 1)


class Schedule:
    """The identities, and when each is to be issued next. One attempt at a time for each."""

    def __init__(self, retry_limit: float) -> None:
        """Start empty; `retry_limit` is the longest back-off in seconds."""
        self._retry_limit = retry_limit
        self._entries: dict[str, Entry] = {}

    def get(self, name: str) -> Entry | None:
        """Return an identity's place; None when there is none."""
        return self._entries.get(name)

    def add(
        self, name: str, ttl: int, now: float, *, life: tuple[float, float] | None = None, jitter: float = 0.0
    ) -> None:
        """Schedule an identity, with the life (not before, not after) of the certificate that is there already.

        Adding one again only takes the new `ttl` in; when that is shorter than the certificate's
        life, the identity is due at once.
        """
        known = self._entries.get(name)
        if known is not None:
            self._retime(name, replace(known, ttl=ttl), now)
        elif life is None:
            self._entries[name] = Entry(ttl, due=now)
        else:
            entry = Entry(ttl, _renew_at(*life, jitter), *life)
            self._retime(name, entry, now)

    def _retime(self, name: str, entry: Entry, now: float) -> None:
        """Keep an entry; one whose certificate lives longer than is desired now is due at once."""
        too_long = (
            entry.not_before is not None
            and entry.not_after is not None
            and entry.not_after - entry.not_before > entry.ttl + BACKDATE + 1
        )
        if too_long and entry.due is not None:
            entry = replace(entry, due=min(entry.due, now))
        self._entries[name] = replace(entry, again=entry.again or (too_long and entry.due is None))

    def forget(self, name: str) -> None:
        """Take an identity out; what comes back of an attempt under way is ignored."""
        self._entries.pop(name, None)

    def trigger(self, name: str, now: float) -> None:
        """Make an identity due now; one that is under way is issued once more, after."""
        entry = self._entries[name]
        self._entries[name] = replace(entry, again=True) if entry.due is None else replace(entry, due=now)

    def suspend(self, name: str) -> None:
        """Renew an identity no more, until it is triggered."""
        entry = self._entries[name]
        self._entries[name] = replace(entry, due=math.inf, again=False, failures=0)

    def tick(self, now: float) -> tuple[str, ...]:
        """Return the identities that are due; from now on an attempt is under way for each."""
        due = tuple(name for name, entry in self._entries.items() if entry.due is not None and entry.due <= now)
        for name in due:
            self._entries[name] = replace(self._entries[name], due=None, again=False)
        return due

    def issued(self, name: str, life: tuple[float, float], now: float, jitter: float) -> None:
        """Take in a new certificate's life; `jitter` (-1 to 1) moves its renewal by up to a tenth of it."""
        entry = self._entries.get(name)
        if entry is None:
            return
        due = now if entry.again else _renew_at(*life, jitter)
        self._entries[name] = Entry(entry.ttl, due, *life)

    def failed(self, name: str, error: str | None, now: float, roll: float) -> None:
        """Take in a failure; the next try is after a back-off of full jitter (`roll` is 0 to 1).

        The back-off is capped at a twentieth of the desired life, so that short lives have many tries.
        """
        entry = self._entries.get(name)
        if entry is None:
            return
        limit = max(_FIRST_RETRY, min(self._retry_limit, entry.ttl / 20))
        span = min(limit, _FIRST_RETRY * 2 ** min(entry.failures, _MOST_DOUBLINGS))
        due = now + max(_SHORTEST_RETRY, span * roll)
        self._entries[name] = replace(entry, due=due, failures=entry.failures + 1, error=error)

    def recovered(self, now: float, roll: Callable[[], float]) -> None:
        """Bring every waiting retry forward, spread over a second for each ten of them: the CA is back."""
        waiting = [name for name, entry in self._entries.items() if entry.failures and entry.due is not None]
        for name in waiting:
            entry = self._entries[name]
            soon = now + roll() * len(waiting) / 10
            self._entries[name] = replace(entry, due=min(entry.due or soon, soon))

    def next_wake(self) -> float | None:
        """Return when the next identity is due; None when none is waiting."""
        return min((entry.due for entry in self._entries.values() if entry.due is not None), default=None)

    def ready(self, now: float) -> bool:
        """Say whether every identity has a certificate that is valid now."""
        return bool(self._entries) and all(_valid(entry, now) for entry in self._entries.values())

    def seconds_to_outage(self, now: float) -> float | None:
        """Return the seconds until the first certificate expires; 0 when one has; None when there is none."""
        ends = [entry.not_after for entry in self._entries.values() if entry.not_after is not None]
        return max(0.0, min(ends) - now) if ends else None


def _valid(entry: Entry, now: float) -> bool:
    """Say whether an entry's certificate is valid now."""
    return entry.not_before is not None and entry.not_after is not None and entry.not_before <= now < entry.not_after


def _renew_at(not_before: float, not_after: float, jitter: float) -> float:
    """Return the renewal of a certificate: half of its life after it was issued, moved by up to a tenth of its life."""
    start = min(not_before + BACKDATE, not_after)
    return start + (not_after - start) * (0.5 + 0.1 * max(-1.0, min(1.0, jitter)))
