"""Revocation: by us, or seen in Vault. The lists of revoked certificates are kept whole and in time, and shown.

There is a list for each intermediate below a root that this host trusts: one, and two during a roll-over
(`certmgr/lists.py`).

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
from certmgr.core.crl import SPARE, BadCrl, Crl
from certmgr.core.ledger import Record
from certmgr.issue.crl import revoke, rotate
from certmgr.issue.login import Login
from certmgr.issue.vault import AWAY, Token, Vault, VaultError
from certmgr.ledger import Ledger
from certmgr.lists import Lists, Place
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
        lists: Lists,
        ledger: Ledger,
        file: Path,
        clock: Clock,
        metrics: Metrics,
        show: Callable[[tuple[Crl, ...]], None],
        tell: Callable[[Revoked], Awaitable[RevokedResult]],
        in_use: Callable[[], frozenset[str]],
        poll: float,
    ) -> None:
        """Prepare; `show` gives proxies lists, or none. `file` keeps them, so that a restart shows them at once.

        `tell` has xds_server deny on open connections what is revoked, and says whose proxies do not know yet.
        `in_use` are the serials that this host shows.
        """
        self._tell, self._in_use = tell, in_use
        self._lists, self._ledger, self._file = lists, ledger, file
        self._clock, self._metrics, self._show, self._poll = clock, metrics, show, poll
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
            self._take(self._lists.recall(content, served))
        except BadCrl as error:
            log.info("stored lists of revoked certificates are not shown", reason=str(error))

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

    def look_too(self, other: Place | None) -> None:
        """Show the lists of another Vault too, and revoke there, while a roll-over leads from one to the other."""
        known = self._lists.other
        if other is None or known is None or other.vault.address != known.vault.address:
            self._lists.other = other

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
        """Get the lists. Raises when there are none, and BadCrl when one lacks a serial that its issuer `holds`."""
        found = await asyncio.to_thread(self._lists.look, self.crls)
        listed = {(crl.issuer, serial) for crl in found for serial in crl.serials}
        issuers = {crl.issuer for crl in found}
        if lacks := sorted(s for s, name in holds.items() if name in issuers and (name, s) not in listed):
            raise BadCrl(f"the list lacks what was revoked: {', '.join(lacks)}")
        self.problem = None
        if [crl.pem for crl in found] != [crl.pem for crl in self.crls]:
            await asyncio.to_thread(write, self._file, self._lists.file(found))
            self._take(found)

    async def revoke(self, records: Sequence[Record], by: str, wait: float, *, gently: bool) -> RevokedResult:
        """Revoke certificates, and show the lists that have them; say whose proxies still serve open connections.

        Each where it was signed; in the Vault in use first, as another one may be away. CannotRevoke, VaultError or
        BadCrl when it fails, after `wait` seconds a step where Vault is only away.
        """
        _way_in(self._lists.here)
        async with self._order:  # a look in between would deny before the owner has moved on
            revoked = await self._revoke_here(records, by, wait)
            for record in (record for record in records if record not in revoked):
                place = await self._patiently(partial(self._lists.signed_at, _leaf(record)), wait)
                revoked += await self._revoke_at(place, [record], by, wait)
            holds = {record.serial: _leaf(record).issuer for record in revoked}
            await patiently(partial(self.refresh, holds), wait, transient=AWAY, waits=_waits)
            return await self.deny(wait, gently=gently)

    async def _revoke_here(self, records: Sequence[Record], by: str, wait: float) -> list[Record]:
        """Revoke those that are signed in the Vault in use, and return them; the next look shows them in any case."""
        is_here = [await self._patiently(partial(self._lists.is_here, _leaf(record)), wait) for record in records]
        here = [record for record, is_one in zip(records, is_here, strict=True) if is_one]
        return await self._revoke_at(self._lists.here, here, by, wait)

    async def _revoke_at(self, place: Place | None, records: list[Record], by: str, wait: float) -> list[Record]:
        """Revoke certificates where they were signed, have the list made anew, and return those that are on it.

        None: nobody who is trusted has signed them, so they are refused already, and on no list.
        """
        for record in records:
            request = "" if place is None else await self._asked(place, partial(_revoke, record), wait)
            done = replace(record, what="revoke", time=self._clock.now(), request_id=request, by=by, certificate="")
            await asyncio.to_thread(self._ledger.add, done)
            log.info("certificate revoked", identity=record.identity, serial=record.serial)
        if place is None or not records:
            return []
        await self._asked(place, rotate, wait)
        return records

    async def _asked(self, place: Place, work: Callable[[Vault, Token], T], wait: float) -> T:
        """Have a Vault do something that may be done twice; again for `wait` seconds while it is away."""
        return await self._patiently(partial(_way_in(place).call, partial(work, place.vault)), wait)

    async def _patiently(self, work: Callable[[], T], wait: float) -> T:
        return await patiently(partial(asyncio.to_thread, work), wait, transient=AWAY, waits=_waits)

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


def _way_in(place: Place) -> Login:
    if place.login is None:
        raise CannotRevoke("this host has no credential of its own: revoke in Vault, and it is seen here")
    return place.login


def _revoke(record: Record, vault: Vault, token: Token) -> str:
    return revoke(vault, token, record.certificate)


def _leaf(record: Record) -> x509.Certificate:
    return x509.load_pem_x509_certificate(record.certificate.encode())


def _serials(crls: Sequence[Crl]) -> frozenset[str]:
    return frozenset(serial for crl in crls for serial in crl.serials)
