"""Keeps the CA set up for the mesh, and gives this host its credentials: whenever something has changed."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from cryptography import x509

from certmgr.core.bundle import Damaged
from certmgr.core.plan import Wanted
from certmgr.issue.issuer import IssueError
from certmgr.issue.login import Login
from certmgr.issue.setup import Authority, ForeignIssuer, Setup
from certmgr.issue.vault import AppRole, Token, Vault, VaultError
from certmgr.store import Store, app_role
from legation.runtime.clock import Clock

log = structlog.get_logger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0
_PATIENCE = 3
"""Attempts in which Vault may still be starting, and that are no news."""

_DELIVERY_PAUSE = 60.0
"""Seconds between two deliveries of credentials for one identity."""


class RootChanged(IssueError):
    """The CA's root is not the one that this host trusts."""


class Enrolment:
    """Set-up as the operator. Without an operator (`operator` is None) others set the CA up, and this does nothing."""

    def __init__(self, vault: Vault, store: Store, clock: Clock, operator: Path | None, used_mark: Path | None) -> None:
        """Prepare; `used_mark` is a file to make once the operator has been let in."""
        self._vault, self._store, self._clock = vault, store, clock
        self._operator, self._used_mark = operator, used_mark
        self._login = Login(vault, self._credentials, clock)
        self._asked = asyncio.Event()
        self._refused: set[str] = set()
        self._delivered: dict[str, float] = {}
        self._retrying = False
        self.problem: str | None = None
        self._authority: Authority | None = None
        self._wanted: tuple[Wanted, ...] = ()

    def want(self, authority: Authority, wanted: Sequence[Wanted]) -> None:
        """Set the CA up for these identities."""
        self._authority, self._wanted = authority, tuple(wanted)
        self._asked.set()

    def ask(self) -> None:
        """Look whether all is still set up: something speaks against it. An attempt that waits goes on waiting."""
        if not self._retrying:
            self._asked.set()

    def hurry(self) -> None:
        """Look now: Vault is back."""
        self._asked.set()

    def renew_credentials(self, name: str) -> None:
        """Get new credentials for an identity, as its old ones were refused; not over and over."""
        if self._clock.now() - self._delivered.get(name, 0.0) > _DELIVERY_PAUSE:
            self._refused.add(name)
        self.ask()

    async def run(self, done: Callable[[], None]) -> None:
        """Set up whenever it is asked for, until it works; `done` is called after each time that changed something."""
        while self._operator is not None:
            await self._asked.wait()
            attempt = 0
            while (changes := await self._try(attempt)) is None:
                attempt += 1
                await self._rest(attempt)
            if changes:
                done()

    async def _rest(self, attempt: int) -> None:
        """Wait for the next attempt: capped full jitter, or until it is urgent."""
        self._retrying = True
        wait = random.uniform(0, min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(attempt, 10)))  # noqa: S311 - no secret
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._asked.wait()
        self._retrying = False

    async def _try(self, attempt: int) -> list[str] | None:
        """Set up once; return what was changed, None when it did not work."""
        self._asked.clear()
        authority, wanted = self._authority, self._wanted
        if authority is None:
            return []
        try:
            changes = await asyncio.to_thread(self._login.call, lambda token: self._set_up(token, authority, wanted))
        except (VaultError, IssueError, ForeignIssuer, Damaged, OSError) as error:
            self.problem = str(error)
            if attempt % 10 == _PATIENCE:
                log.warning("CA is not set up", reason=self.problem, attempts=attempt + 1)
            return None
        self.problem = None
        if changes:
            log.info("CA set up", changes=changes)
        return changes

    def _set_up(self, token: Token, authority: Authority, wanted: Sequence[Wanted]) -> list[str]:
        """Do it all, in order: whoever dies in between leaves a state that the next run completes."""
        if self._used_mark is not None:
            self._used_mark.touch(mode=0o600)
        setup = Setup(self._vault, token)
        self._trust(setup.run(authority, wanted, self._clock.now()))
        for name in [identity.name for identity in wanted]:
            if name in self._refused or self._store.credentials(name) is None:
                self._store.save_credentials(name, setup.deliver(name))
                self._refused.discard(name)
                self._delivered[name] = self._clock.now()
                setup.changes.append(f"credentials of {name}")
        return setup.changes

    def _trust(self, root: x509.Certificate) -> None:
        """Pin the first root that is seen; refuse another one."""
        pinned = self._store.root()
        if pinned is None:
            self._store.pin(root)
        elif pinned != root:
            raise RootChanged(
                f"the root of {self._vault.address} is not the one that this host trusts: "
                f"if that is meant, remove {self._store.root_file}"
            )

    def _credentials(self) -> AppRole:
        """Return the operator's AppRole, read anew for each login."""
        found = None if self._operator is None else app_role(self._operator)
        if found is None:
            raise Damaged(f"{self._operator} is not there: it holds the AppRole that sets up the CA")
        return found
