"""How a certificate comes to be: paced towards Vault, a few at a time, and on the disk before anybody may use it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from certmgr.core.bucket import Bucket
from certmgr.core.bundle import Bundle
from certmgr.core.plan import IdentitySpec
from certmgr.held import Held
from certmgr.issue.issuer import IssueError
from certmgr.metrics import Metrics
from certmgr.store import Store
from legation.runtime.clock import Clock
from legation.runtime.tasks import pause

_AT_ONCE = 4
"""Certificates that are asked for at the same time."""


class Issuing(Protocol):
    """Where certificates come from. Blocks."""

    def issue(self, spec: IdentitySpec) -> Bundle:
        """Return a new, verified identity; IssueError or VaultError when there is none."""
        ...

    def forget(self, name: str) -> None:
        """Drop what is cached for an identity."""
        ...


class Book(Protocol):
    """Where it is written what was issued and revoked."""

    @property
    def lines(self) -> int:
        """How many lines are written."""

    def settle(self, lines: int) -> None:
        """Return when so many lines are on the disk. Blocks."""

    def is_revoked(self, serial: str) -> bool:
        """Say whether a certificate was revoked here."""


class Issuance:
    """Issues and keeps the certificates of one host."""

    def __init__(
        self,
        issuer: Issuing,
        store: Store,
        book: Book,
        clock: Clock,
        metrics: Metrics,
        may_use: Callable[[Bundle], bool],
        rate: float,
    ) -> None:
        """Prepare. `may_use` says whether peers would take a certificate; `rate` is the most of them a second."""
        self._issuer, self._store, self._book = issuer, store, book
        self._clock, self._metrics, self._may_use = clock, metrics, may_use
        self._bucket = Bucket(rate, rate, clock.now())
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._disk = ThreadPoolExecutor(1, "disk")  # one: who waits for it waits for whoever is before him too

    async def issue(self, held: Held) -> Bundle:
        """Return a new certificate, safely on disk; raises IssueError, VaultError, Damaged or OSError."""
        await pause(self._bucket.take(self._clock.now()))
        async with self._slots:
            with self._metrics.issue_seconds.time():
                bundle = await asyncio.to_thread(self._issuer.issue, held.spec)
        # without the slot: the next request is on its way meanwhile
        await asyncio.get_running_loop().run_in_executor(self._disk, self._keep, held, bundle, self._book.lines)
        return bundle

    def _keep(self, held: Held, bundle: Bundle, lines: int) -> None:
        """Keep what was issued: its line of the ledger first. Blocks; OSError or IssueError: it may not be used."""
        self._book.settle(lines)
        if not self._may_use(bundle):
            raise IssueError(
                f"{bundle.leaf.issuer.rfc4514_string()} signed it, whose list of revoked certificates is not shown yet"
            )
        if not held.gone.is_set():
            self._store.save_bundle(held.spec.name, bundle)

    def forget(self, name: str) -> None:
        """Drop what is cached for an identity: its next issue logs in anew."""
        self._issuer.forget(name)

    def close(self) -> None:
        """Take no more work for the disk."""
        self._disk.shutdown(wait=False)
