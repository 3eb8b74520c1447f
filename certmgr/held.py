"""One identity as the agent holds it, and who has not taken what it shows."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from certmgr.core.bundle import Bundle
from certmgr.core.plan import IdentitySpec
from certmgr.core.schedule import Entry
from certmgr.core.trust import fingerprint
from certmgr.sds import Secrets
from legation.runtime.tasks import Latest

_TOLD_AGAIN = 5.0
"""Seconds. The schedule's own tries are further apart; those of somebody who waits are not."""


@dataclass(slots=True)
class Held:
    """One identity as the agent holds it; `attempts` is the number of the last attempt that has ended."""

    spec: IdentitySpec
    secrets: Secrets
    bundle: Bundle | None = None
    started: int = 0
    vault_away: bool = False
    """Whether its last attempt failed for what passes by itself."""
    told: tuple[str, float] = ("", 0.0)
    """The last failure that was logged, and when."""
    attempts: Latest[int] = field(default_factory=lambda: Latest(0))
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def is_news(self, reason: str, now: float) -> bool:
        """Say whether a failure is to be logged: the next try of a row that fails for the same reason is none."""
        before, at = self.told
        if reason == before and 0 <= now - at < _TOLD_AGAIN:
            return False
        self.told = (reason, now)
        return True

    def is_from(self, intermediate: str) -> bool:
        """Say whether the certificate is of an intermediate, which is named by its SHA-256."""
        return self.bundle is not None and fingerprint(self.bundle.chain[0]) == intermediate


def waits(held: Iterable[Held], intermediate: str | None, errors: dict[str, str]) -> Iterator[str]:
    """Yield, by name, who is not there yet: without a certificate of the intermediate, or of any; or without an ACK."""
    for one in held:
        if one.bundle is None or (intermediate is not None and not one.is_from(intermediate)):
            why = errors.get(one.spec.name)
            yield f"{one.spec.name}: no certificate of the CA that is to stay" + (f" ({why})" if why else "")
        for node in sorted(one.secrets.late()):
            nacked = one.secrets.nacked
            yield f"{node or one.spec.name}: " + (
                f"its proxy NACKs it: {nacked}" if nacked else "its proxy has not ACKed"
            )


def taken(held: Iterable[Held]) -> tuple[str, ...]:
    """Return the nodes that have taken all that is shown to them."""
    return tuple(sorted({node for one in held for node in one.secrets.taken()}))


def error_of(entry: Entry | None, nacked: str | None) -> str | None:
    """Return what is wrong with an identity: its last attempt failed, or a proxy does not take it."""
    if entry is not None and entry.error is not None:
        return entry.error
    return None if nacked is None else f"a proxy NACKs it: {nacked}"
