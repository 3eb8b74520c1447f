"""Revocation: by us, or seen in Vault. The lists of revoked certificates are kept whole and in time, and shown.

There is a list for each intermediate below a root that this host trusts: one, and two during a roll-over.

Vault rebuilds its list by itself only now and then, so whoever revokes has it made anew; what was
revoked in Vault by others is looked for every few seconds.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import structlog
from cryptography import x509

from certmgr.core.bundle import Damaged
from certmgr.core.crl import SPARE, BadCrl, Crl, checked, normal, pairs
from certmgr.core.ledger import Record
from certmgr.core.trust import anchor, pem
from certmgr.issue.crl import certificate_of, fetch, issuers, revoke, revoked_in_vault, rotate
from certmgr.issue.login import Login, LoginRefused
from certmgr.issue.vault import AWAY, Denied, Token, Vault, VaultError
from certmgr.ledger import Ledger
from certmgr.metrics import Metrics
from certmgr.store import read, write
from legation.runtime.clock import Clock
from legation.runtime.control.messages import Revoked, RevokedResult
from legation.runtime.tasks import patiently, pause

log = structlog.get_logger(__name__)

T = TypeVar("T")


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
        show: Callable[[tuple[Crl, ...]], None],
        tell: Callable[[Revoked], Awaitable[RevokedResult]],
        in_use: Callable[[], frozenset[str]],
        roots: Callable[[], tuple[x509.Certificate, ...]],
        poll: float,
    ) -> None:
        """Prepare; `show` gives proxies lists, or none. `file` keeps them, so that a restart shows them at once.

        `tell` has xds_server deny on open connections what is revoked, and says whose proxies do not know yet.
        `in_use` are the serials that this host shows, `roots` those that it trusts.
        """
        self._tell, self._in_use, self._roots = tell, in_use, roots
        self._vault, self._login, self._ledger, self._file = vault, login, ledger, file
        self._clock, self._metrics, self._show, self._poll = clock, metrics, show, poll
        self._certificates: dict[str, x509.Certificate] = {}
        self._signers: dict[x509.Name, x509.Certificate] = {}
        self._other: Vault | None = None
        self._rotated_for: frozenset[str] = frozenset()
        self._order = asyncio.Lock()
        self._nothing_told = False
        self.crls: tuple[Crl, ...] = ()
        self.problem: str | None = None

    def recall(self, served: tuple[x509.Certificate, ...]) -> None:
        """Show the lists on disk, if they are still in time, and all there for the intermediates of what is served."""
        content = read(self._file)
        if content is None or not served:
            return
        try:
            found = _whole(content, served, self._clock.now())
        except BadCrl as error:
            log.info("stored lists of revoked certificates are not shown", reason=str(error))
        else:
            self._signers |= {crl.issuer: signer for signer, crl in found}
            self._take(tuple(crl for _, crl in found))

    async def run(self) -> None:
        """Look for news every few seconds; never show a list that has ended."""
        while True:
            try:
                async with self._order:
                    await self.refresh()
                    # who has it elsewhere may have moved on: gently, at the cost of a second
                    await self.deny(gently=not self._in_use() & set(self.revoked()))
            except (VaultError, BadCrl, Damaged, OSError) as error:
                if self.crls and self.problem != str(error):  # before there was one, Vault just starts
                    log.warning("no new list of revoked certificates", reason=str(error))
                self.problem = str(error)
            self._drop_ended()
            await pause(self._poll * random.uniform(0.8, 1.0))  # noqa: S311 - no secret

    def look_too(self, other: Vault | None) -> None:
        """Show the lists of another Vault too, while a roll-over leads from one to the other."""
        self._other = other

    async def look_now(self) -> None:
        """Get the lists now, as there may be another intermediate. Raises when there are none."""
        async with self._order:
            await self.refresh()

    async def deny(self, wait: float = 0.0, *, gently: bool = False) -> RevokedResult:
        """Have requests on open connections denied; said again at each look, as xds_server may be a new one."""
        serials = self.revoked()
        if not self.crls or (not serials and self._nothing_told):
            return RevokedResult()
        issued = ((serial, self._ledger.find(serial)) for serial in serials)
        owners = {serial: record.identity for serial, record in issued if record is not None}
        said = Revoked(serials=serials, owners=owners, number=self._number(), wait=wait, gently=gently)
        answer = await self._tell(said)
        self._nothing_told = not serials and not answer.unsynced
        return answer

    async def refresh(self, holds: Mapping[str, x509.Name] = MappingProxyType({})) -> None:
        """Get the list; have it made anew where it lacks what Vault says is revoked. Raises when there is none."""
        found = await asyncio.to_thread(self._look, holds)
        self.problem = None
        if [crl.pem for crl in found] != [crl.pem for crl in self.crls]:
            content = b"".join(pem([self._signers[crl.issuer]]) + crl.pem for crl in found)
            await asyncio.to_thread(write, self._file, content)
            self._take(found)

    async def revoke(self, records: Sequence[Record], by: str, wait: float, *, gently: bool) -> RevokedResult:
        """Revoke certificates, and show the list that has them; say whose proxies still serve open connections.

        CannotRevoke, VaultError or BadCrl when it fails, after `wait` seconds a step where Vault is only away.
        """
        if self._login is None:
            raise CannotRevoke("this host has no credential of its own: revoke in Vault, and it is seen here")
        async with self._order:  # a look in between would deny before the owner has moved on
            for record in records:
                request = await self._asked(self._login, partial(self._revoke, record), wait)
                done = replace(record, what="revoke", time=self._clock.now(), request_id=request, by=by, certificate="")
                await asyncio.to_thread(self._ledger.add, done)
                log.info("certificate revoked", identity=record.identity, serial=record.serial)
            await self._asked(self._login, partial(rotate, self._vault), wait)
            holds = {record.serial: _issuer_of(record) for record in records}
            await patiently(partial(self.refresh, holds), wait, transient=AWAY, waits=_waits)
            return await self.deny(wait, gently=gently)

    async def _asked(self, login: Login, work: Callable[[Token], T], wait: float) -> T:
        """Have Vault do something that may be done twice; again for `wait` seconds while it is away."""
        return await patiently(partial(asyncio.to_thread, login.call, work), wait, transient=AWAY, waits=_waits)

    def _revoke(self, record: Record, token: Token) -> str:
        return revoke(self._vault, token, record.certificate)

    def _look(self, holds: Mapping[str, x509.Name]) -> tuple[Crl, ...]:
        """Return the lists that are to be shown; BadCrl when the one of its issuer lacks what `holds` says is revoked.

        None at all are begun with while one is missing: proxies check by all of them, or by none.
        """
        found = self._ours() + self._elsewhere()
        found += self._kept(found)
        if not found:
            raise BadCrl("Vault has no intermediate of a root that this host trusts")
        if not self.crls and (listless := self._listless(found)):
            name = listless[0].subject.rfc4514_string()
            raise BadCrl(f"no list of an intermediate of {name} is here, which is trusted too")
        lacks = sorted(
            s for s, name in holds.items() if any(crl.issuer == name and s not in crl.serials for crl in found)
        )
        if lacks:
            raise BadCrl(f"the list lacks what was revoked: {', '.join(lacks)}")
        return found

    def _ours(self) -> tuple[Crl, ...]:
        """Return the lists of the Vault in use, made anew where they lack what it says is revoked."""
        intermediates = self._intermediates(self._vault)
        found = self._checked(self._vault, intermediates)
        missing = self._revoked_there() - _serials(found) - self._rotated_for
        if missing and self._login is not None:
            self._login.call(partial(rotate, self._vault))
            self._rotated_for |= missing  # what has ended is on no list: it is not asked for again
            found = self._checked(self._vault, intermediates)
        return found

    def _elsewhere(self) -> tuple[Crl, ...]:
        """Return the lists of the other Vault; none while it is away, as it may be gone for good."""
        if self._other is None:
            return ()
        try:
            return self._checked(self._other, self._intermediates(self._other))
        except VaultError:
            return ()

    def _kept(self, found: Sequence[Crl]) -> tuple[Crl, ...]:
        """Return the lists from before of each root that is trusted and has none now: proxies would refuse its leaves.

        Its Vault is away, or not looked at yet: who has just turned to another one hears of that a moment later.
        """
        listless = self._listless(found)
        return tuple(crl for crl in self.crls if anchor(self._signers[crl.issuer], listless) is not None)

    def _listless(self, found: Sequence[Crl]) -> tuple[x509.Certificate, ...]:
        """Return the roots that this host trusts, and that have no list among these."""
        roots = self._roots()
        listed = {anchor(self._signers[crl.issuer], roots) for crl in found}
        return tuple(root for root in roots if root not in listed)

    def _intermediates(self, vault: Vault) -> Mapping[str, x509.Certificate]:
        """Return the issuers of a Vault that are intermediates of a root which we trust, by their ids."""
        roots, there = self._roots(), issuers(vault)
        for issuer in there:
            if issuer not in self._certificates:
                self._certificates[issuer] = certificate_of(vault, issuer)
        known = {issuer: self._certificates[issuer] for issuer in there}
        found = {issuer: one for issuer, one in known.items() if one not in roots and anchor(one, roots)}
        self._signers |= {one.subject: one for one in found.values()}
        return found

    def _checked(self, vault: Vault, intermediates: Mapping[str, x509.Certificate]) -> tuple[Crl, ...]:
        """Return the list of each intermediate: all of them, as a leaf is refused whose own is not there."""
        before = {crl.issuer: crl for crl in self.crls}
        return tuple(
            checked(fetch(vault, issuer), one, self._clock.now(), after=before.get(one.subject), holds=())
            for issuer, one in intermediates.items()
        )

    def _revoked_there(self) -> frozenset[str]:
        """Return what Vault has revoked; nothing where we may not ask."""
        if self._login is None:
            return frozenset()
        try:
            found = self._login.call(partial(revoked_in_vault, self._vault))
        except (Denied, LoginRefused, Damaged):  # the list itself is there for everybody
            return frozenset()
        return frozenset(serial for serial in map(normal, found) if serial is not None)

    def _take(self, crls: tuple[Crl, ...]) -> None:
        self.crls = crls
        self._metrics.crl_ends.set(min(crl.ends for crl in crls))
        self._metrics.crl_entries.set(len(_serials(crls)))
        self._show(crls)
        for crl in crls:
            called = crl.issuer.rfc4514_string()
            log.info(
                "list of revoked certificates", of=called, number=crl.number, entries=len(crl.serials), ends=crl.ends
            )

    def _number(self) -> int:
        """Return what grows whenever one of the lists is made anew."""
        return sum(crl.number for crl in self.crls)

    def ends(self) -> float | None:
        """Return when the first list that is shown ends; None while none is shown."""
        return min((crl.ends for crl in self.crls), default=None)

    def revoked(self) -> tuple[str, ...]:
        """Return what is revoked: on the lists that are shown, or here, as a CA that is trusted no more has none."""
        return tuple(sorted(_serials(self.crls) | self._ledger.revoked(self._clock.now())))

    def _drop_ended(self) -> None:
        """Show none rather than one that makes proxies refuse everybody; somebody should know."""
        ends = self.ends()
        if ends is not None and ends - SPARE <= self._clock.now():
            log.error("ALARM: the list of revoked certificates ends, and there is no newer: proxies check none")
            self._metrics.alarms.labels("crl_ended").inc()
            self.crls = ()
            self._metrics.crl_ends.set(0)
            self._show(())


def _waits(error: Exception) -> None:
    log.warning("a revocation waits for Vault", reason=str(error))


def _whole(
    content: bytes, served: tuple[x509.Certificate, ...], now: float
) -> tuple[tuple[x509.Certificate, Crl], ...]:
    """Return the lists of a file, each with who has signed it.

    BadCrl when one is bad, or missing for an intermediate of what is served.
    """
    found = tuple((issuer, checked(crl, issuer, now, after=None, holds=())) for issuer, crl in pairs(content, served))
    if not {issuer.subject for issuer in served} <= {crl.issuer for _, crl in found}:
        raise BadCrl("one of them is missing")
    return found


def _issuer_of(record: Record) -> x509.Name:
    return x509.load_pem_x509_certificate(record.certificate.encode()).issuer


def _serials(crls: Sequence[Crl]) -> frozenset[str]:
    return frozenset(serial for crl in crls for serial in crl.serials)
