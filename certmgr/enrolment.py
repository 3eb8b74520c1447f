"""Gives the identities of this host their credentials, and takes them away: whenever something has changed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from certmgr.core.bundle import Damaged
from certmgr.core.plan import IdentitySpec
from certmgr.embedded import Embedded
from certmgr.issue.auth import Intercepted
from certmgr.issue.edge import EdgeEnroller
from certmgr.issue.issuer import IssueError
from certmgr.issue.login import Login
from certmgr.issue.setup import Authority, CannotSetUp, Enroller, root_of
from certmgr.issue.vault import Token, Vault, VaultError
from certmgr.metrics import Metrics
from certmgr.store import Store
from legation.mesh.names import EDGE
from legation.runtime.clock import Clock
from legation.runtime.embedded import NEEDS_DEV
from legation.runtime.tasks import jittered

log = structlog.get_logger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0
_PATIENCE = 3
"""Attempts in which Vault may still be starting, and that are no news."""

_DELIVERY_PAUSE = 60.0
"""Seconds between two deliveries of credentials for one identity."""


class RootChanged(IssueError):
    """The CA's root is not the one that this host trusts."""


class Enrolment:
    """Enrols the identities of the mesh. Without a login of the host (None) others put the credentials in place."""

    def __init__(
        self,
        vault: Vault,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        login: Login | None,
        embedded: Embedded | None = None,
        edge: EdgeEnroller | None = None,
    ) -> None:
        """Prepare; an embedded OpenBao is set up first, once."""
        self._vault, self._store, self._clock, self._metrics = vault, store, clock, metrics
        self._login, self._embedded, self._edge = login, embedded, edge
        self._asked = asyncio.Event()
        self._refused: set[str] = set()
        self._delivered: dict[str, float] = {}
        self._retrying = False
        self.problem: str | None = None
        self._alarmed: str | None = None
        self._authority: Authority | None = None
        self._desired: tuple[IdentitySpec, ...] = ()

    def want(self, authority: Authority, desired: Sequence[IdentitySpec]) -> None:
        """Enrol these identities."""
        self._authority, self._desired = authority, tuple(desired)
        self._asked.set()

    def ask(self) -> None:
        """Look whether all is still as it was: something speaks against it. An attempt that waits goes on waiting."""
        if not self._retrying:
            self._asked.set()

    def trigger(self) -> None:
        """Look now: Vault is back."""
        self._asked.set()

    def renew_credentials(self, name: str) -> None:
        """Get new credentials for an identity, as its old ones were refused; not over and over."""
        if self._clock.now() - self._delivered.get(name, 0.0) > _DELIVERY_PAUSE:
            self._refused.add(name)
        self.ask()

    async def run(self, done: Callable[[], None]) -> None:
        """Enrol whenever it is asked for, until it works; `done` is called after each time that changed something."""
        while True:
            await self._asked.wait()
            attempt = 0
            while (changes := await self._try(attempt)) is None:
                attempt += 1
                await self._wait(attempt)
            if changes:
                done()

    async def _wait(self, attempt: int) -> None:
        """Wait for the next attempt: capped full jitter, or until it is urgent."""
        self._retrying = True
        wait = jittered(_FIRST_RETRY, _LONGEST_RETRY, attempt)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._asked.wait()
        self._retrying = False

    async def _try(self, attempt: int) -> list[str] | None:
        """Enrol once; return what was changed, None when it did not work."""
        self._asked.clear()
        authority, desired = self._authority, self._desired
        if authority is None:
            return []
        try:
            changes = await asyncio.to_thread(self._enrol, authority, desired)
        except (VaultError, IssueError, CannotSetUp, Damaged, OSError) as error:
            self.problem = str(error)
            if isinstance(error, Intercepted):
                self._alarm(error)
            if attempt % 10 == _PATIENCE:
                log.warning("identities are not enrolled", reason=self.problem, attempts=attempt + 1)
            return None
        self.problem = None
        if changes:
            log.info("identities enrolled", changes=changes)
        return changes

    def _alarm(self, error: Intercepted) -> None:
        """Say once that somebody may have this host's credential."""
        if self._alarmed != str(error):
            self._alarmed = str(error)
            self._metrics.alarms.labels("wrapped_secret_id").inc()
            log.error("ALARM: SecretID may be intercepted", reason=str(error))

    def _enrol(self, authority: Authority, desired: Sequence[IdentitySpec]) -> list[str]:
        """Do it all, in order: whoever dies in between leaves a state that the next run completes."""
        changes = []
        if self._embedded is not None and not authority.dev:
            raise CannotSetUp(NEEDS_DEV)
        if self._embedded is not None and self._embedded.pending:
            changes += self._embedded.set_up(authority, self._clock.now())
        changes += self._trust(authority)
        if self._login is None:
            return changes
        names = [identity.name for identity in desired]
        missing = [name for name in names if name in self._refused or self._store.credentials(name) is None]
        left = [name for name in self._store.enrolled() if name not in (*names, EDGE)]
        if missing or left:
            changes += self._login.call(lambda token: self._change(token, missing, left))
        return changes + self._for_the_edge(self._login, authority.hosts)

    def _for_the_edge(self, login: Login, hosts: tuple[str, ...]) -> list[str]:
        """See to who has the gateway's certificates signed: last, as no identity waits for it."""
        edge, refused = self._edge, EDGE in self._refused
        if edge is None or not edge.pending(hosts, refused):
            return []
        changes = login.call(lambda token: edge.enrol(token, hosts, refused))
        self._refused.discard(EDGE)
        self._delivered[EDGE] = self._clock.now()
        return changes

    def _change(self, token: Token, missing: Sequence[str], left: Sequence[str]) -> list[str]:
        """Give credentials to who lacks them, and take them from who has left the mesh.

        Only of what this host has enrolled itself: other hosts may know a newer mesh than we do.
        """
        enroller = Enroller(self._vault, token)
        for name in missing:
            self._store.save_credentials(name, enroller.deliver(name))
            self._refused.discard(name)
            self._delivered[name] = self._clock.now()
        for name in left:
            enroller.remove(name)
            self._store.forget(name)
        return [*(f"+{name}" for name in missing), *(f"-{name}" for name in left)]

    def _trust(self, authority: Authority) -> list[str]:
        """Pin the first root that is seen; refuse another one."""
        root, pinned = root_of(self._vault), self._store.roots()
        called = root.subject.rfc4514_string()
        if "DEV" in called and not authority.dev:
            raise RootChanged(
                f"the root of {self._vault.address} is {called}, which is for trying things out: "
                "set up another with legation certs init, or say certificates.dev: true in mesh.yaml"
            )
        if not pinned:
            self._store.trust([root])
            return ["trusted root"]
        if root not in pinned:
            raise RootChanged(
                f"the root of {self._vault.address} is not the one that this host trusts: "
                f"if that is meant, remove {self._store.root_file}"
            )
        return []
