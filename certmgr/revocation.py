"""Revocation: by us, or seen in Vault. The list of revoked certificates is kept whole and in time, and shown.

Vault rebuilds its list by itself only now and then, so whoever revokes has it made anew; what was
revoked in Vault by others is looked for every few seconds.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
from cryptography import x509

from certmgr.core.bundle import Damaged
from certmgr.core.crl import SPARE, BadCrl, Crl, checked, normal
from certmgr.core.ledger import Record
from certmgr.issue.crl import fetch, intermediate, revoke, revoked_in_vault, rotate
from certmgr.issue.login import Login, LoginRefused
from certmgr.issue.vault import Denied, Token, Vault, VaultError
from certmgr.ledger import Ledger
from certmgr.metrics import Metrics
from certmgr.store import read, write
from legation.runtime.clock import Clock
from legation.runtime.control.messages import Revoked, RevokedResult
from legation.runtime.tasks import pause

log = structlog.get_logger(__name__)


class CannotRevoke(Exception):
    """Why nothing was revoked."""


class Revocation:
    """Revokes, and knows what is revoked."""

    def __init__(
        self,
        vault: Vault,
        login: Login | None,
        ledger: Ledger,
        file: Path,
        clock: Clock,
        metrics: Metrics,
        show: Callable[[Crl | None], None],
        tell: Callable[[Revoked], Awaitable[RevokedResult]],
        in_use: Callable[[], frozenset[str]],
        poll: float,
    ) -> None:
        """Prepare; `show` gives proxies a list, or none. `file` keeps it, so that a restart shows it at once.

        `tell` has xds_server deny on open connections what is revoked, and says whose proxies do not know yet.
        `in_use` are the serials that this host shows.
        """
        self._tell, self._in_use = tell, in_use
        self._vault, self._login, self._ledger, self._file = vault, login, ledger, file
        self._clock, self._metrics, self._show, self._poll = clock, metrics, show, poll
        self._issuer: x509.Certificate | None = None
        self._rotated_for: frozenset[str] = frozenset()
        self._order = asyncio.Lock()
        self._nothing_told = False
        self.crl: Crl | None = None
        self.problem: str | None = None

    def recall(self, issuer: x509.Certificate | None) -> None:
        """Show the list on disk, if it is still in time and of who signed what is served."""
        content = read(self._file)
        if content is None or issuer is None:
            return
        try:
            self._take(checked(content, issuer, self._clock.now(), after=None, holds=()))
        except BadCrl as error:
            log.info("stored list of revoked certificates is not shown", reason=str(error))

    async def run(self) -> None:
        """Look for news every few seconds; never show a list that has ended."""
        while True:
            try:
                async with self._order:
                    await self.refresh()
                    # who has it elsewhere may have moved on: gently, at the cost of a second
                    await self.deny(gently=not self._in_use() & set(self.revoked()))
            except (VaultError, BadCrl, Damaged, OSError) as error:
                if self.crl is not None and self.problem != str(error):  # before there was one, Vault just starts
                    log.warning("no new list of revoked certificates", reason=str(error))
                self.problem = str(error)
            self._drop_ended()
            await pause(self._poll * random.uniform(0.8, 1.0))  # noqa: S311 - no secret

    async def deny(self, wait: float = 0.0, *, gently: bool = False) -> RevokedResult:
        """Have requests on open connections denied; said again at each look, as xds_server may be a new one."""
        serials = self.revoked()
        if self.crl is None or (not serials and self._nothing_told):
            return RevokedResult()
        issued = ((serial, self._ledger.find(serial)) for serial in serials)
        owners = {serial: record.identity for serial, record in issued if record is not None}
        said = Revoked(serials=serials, owners=owners, number=self.crl.number, wait=wait, gently=gently)
        answer = await self._tell(said)
        self._nothing_told = not serials and not answer.unsynced
        return answer

    async def refresh(self, holds: Sequence[str] = ()) -> None:
        """Get the list; have it made anew where it lacks what Vault says is revoked. Raises when there is none."""
        found = await asyncio.to_thread(self._look, tuple(holds))
        self.problem = None
        if self.crl is None or found.pem != self.crl.pem:
            await asyncio.to_thread(write, self._file, found.pem)
            self._take(found)

    async def revoke(self, records: Sequence[Record], by: str, wait: float, *, gently: bool) -> RevokedResult:
        """Revoke certificates, and show the list that has them; say whose proxies still serve open connections.

        CannotRevoke, VaultError or BadCrl when it fails.
        """
        if self._login is None:
            raise CannotRevoke("this host has no credential of its own: revoke in Vault, and it is seen here")
        async with self._order:  # a look in between would deny before the owner has moved on
            for record in records:
                request = await asyncio.to_thread(self._login.call, partial(self._revoke, record))
                done = replace(record, what="revoke", time=self._clock.now(), request_id=request, by=by, certificate="")
                await asyncio.to_thread(self._ledger.add, done)
                log.info("certificate revoked", identity=record.identity, serial=record.serial)
            await asyncio.to_thread(self._login.call, partial(rotate, self._vault))
            await self.refresh([record.serial for record in records])
            return await self.deny(wait, gently=gently)

    def _revoke(self, record: Record, token: Token) -> str:
        return revoke(self._vault, token, record.certificate)

    def _look(self, holds: tuple[str, ...]) -> Crl:
        if self._issuer is None:
            self._issuer = intermediate(self._vault)
        found = self._checked(holds)
        missing = self._revoked_there() - found.serials - self._rotated_for
        if missing and self._login is not None:
            self._login.call(partial(rotate, self._vault))
            self._rotated_for |= missing  # what has ended is on no list: it is not asked for again
            found = self._checked(holds)
        return found

    def _checked(self, holds: tuple[str, ...]) -> Crl:
        content = fetch(self._vault)
        try:
            return checked(content, self._issuer, self._clock.now(), after=self.crl, holds=holds)  # type: ignore[arg-type]
        except BadCrl:
            self._issuer = None  # it may have a new one
            raise

    def _revoked_there(self) -> frozenset[str]:
        """Return what Vault has revoked; nothing where we may not ask."""
        if self._login is None:
            return frozenset()
        try:
            found = self._login.call(partial(revoked_in_vault, self._vault))
        except (Denied, LoginRefused, Damaged):  # the list itself is there for everybody
            return frozenset()
        return frozenset(serial for serial in map(normal, found) if serial is not None)

    def _take(self, crl: Crl) -> None:
        self.crl = crl
        self._metrics.crl_ends.set(crl.ends)
        self._metrics.crl_entries.set(len(crl.serials))
        self._show(crl)
        log.info("list of revoked certificates", number=crl.number, entries=len(crl.serials), ends=crl.ends)

    def revoked(self) -> tuple[str, ...]:
        """Return the serials on the list that is shown."""
        return () if self.crl is None else tuple(sorted(self.crl.serials))

    def _drop_ended(self) -> None:
        """Show none rather than one that makes proxies refuse everybody; somebody should know."""
        if self.crl is not None and self.crl.ends - SPARE <= self._clock.now():
            log.error("ALARM: the list of revoked certificates ends, and there is no newer: proxies check none")
            self._metrics.alarms.labels("crl_ended").inc()
            self.crl = None
            self._show(None)
