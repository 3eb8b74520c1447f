"""One host's part in a roll-over of the CA: to have what the phase wants, and to say who on it has not.

The certmgr beside xds_server also moves it on, when everybody has said so. Nothing of it is remembered
but whom this host trusts: where the roll-over stands is xds_server's to keep, and whoever dies begins
with that again.
"""

import asyncio
from dataclasses import replace
from functools import partial

import structlog
from cryptography import x509

from certmgr.agent import Agent
from certmgr.core.bundle import Damaged
from certmgr.core.crl import BadCrl
from certmgr.core.rollover import desired, settles_at, step, waits_for
from certmgr.core.trust import fingerprint
from certmgr.issue.rollover import WrongCa, ca_of, present_ca
from certmgr.issue.vault import VaultError
from certmgr.lists import Place
from certmgr.metrics import Metrics
from certmgr.own_root import bygone
from certmgr.revocation import Revocation
from certmgr.store import Store
from certmgr.vaults import UnknownVault, Vaults
from legation.mesh.rollover import CaRef, HostProgress, Rollover, Standing
from legation.runtime.clock import Clock
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.rollover_messages import RolloverMove, RolloverReport, RolloverView
from legation.runtime.tasks import Latest, follow, spawn

log = structlog.get_logger(__name__)

_LOOK_AGAIN = 2.0
"""Seconds after which what a host lacks is tried for again, and what it has said is said again."""


class RollingOver:
    """Follows the roll-over that xds_server keeps."""

    def __init__(
        self,
        xds: ControlClient,
        host: str,
        vaults: Vaults,
        store: Store,
        agent: Agent,
        revocation: Revocation,
        clock: Clock,
        metrics: Metrics,
        *,
        leads: bool,
    ) -> None:
        """Prepare; `leads` where xds_server is on this host: then it is we who move the roll-over on."""
        self._xds, self._host, self.vaults, self._store = xds, host, vaults, store
        self._agent, self._revocation, self._clock, self._metrics = agent, revocation, clock, metrics
        self._leads = leads
        self._seen: Latest[Standing] = Latest(Standing())
        self._known: dict[str, tuple[x509.Certificate, x509.Certificate]] = {}

    async def run(self) -> None:
        """Take part in every roll-over, for ever."""
        async with asyncio.TaskGroup() as group:
            spawn(group, "rollover watch", self._watch())
            spawn(group, "rollover", self._take_part())

    def words(self) -> str | None:
        """Return where a roll-over stands, for people; None while there is none."""
        return described(self._seen.value, self._clock.now())

    def present(self) -> CaRef:
        """Return the CA that signs for this host now, by its Vault. Blocks."""
        return present_ca(self.vaults.at(self.vaults.url), self.vaults.url)

    async def _watch(self) -> None:
        def lost(error: Exception, attempt: int) -> None:
            log.debug("xds_server is away", reason=str(error), attempt=attempt)

        watch = partial(self._xds.watch, "/rollover/watch", RolloverView)
        async for view in follow(watch, lost, transient=(ControlError,)):
            self._seen.set(view.standing)
            self._agent.moves.moved()

    async def _take_part(self) -> None:
        """Do what the phase wants at each change, and now and then again."""
        while True:
            standing = self._seen.value
            progress = await self._progress(standing.rollover)
            far = self._far(standing.rollover)
            is_known = await self._say(progress)
            if self._leads:
                await self._lead(standing)
            self._measure(standing)
            await self._until_news(standing, far, is_known=is_known)

    async def _until_news(self, seen: Standing, far: HostProgress, *, is_known: bool) -> None:
        """Wait for another standing, for other proxies to have taken what they are to have, or for time to pass.

        `far` is how far the proxies were: what keeps this host itself is tried again after a time, and no sooner.
        """
        rollover = seen.rollover
        if _is_over(rollover) and is_known:
            async for value in self._seen.watch():
                if value is not seen:
                    return
        ends = settles_at(rollover) if rollover is not None else None
        wait = _LOOK_AGAIN if ends is None else max(0.05, min(_LOOK_AGAIN, ends - self._clock.now()))

        def news() -> bool:
            return self._seen.value is not seen or (not _is_over(rollover) and self._far(rollover) != far)

        await self._agent.moves.until(news, wait)

    async def _progress(self, rollover: Rollover | None) -> HostProgress:
        """Bring this host to what the phase wants, as far as that goes now; return how far that is."""
        try:
            if rollover is not None:
                await self._have(rollover)
        except (VaultError, WrongCa, UnknownVault, Damaged, BadCrl, OSError) as error:
            return replace(self._far(rollover), waits=(str(error),))
        return self._far(rollover)

    def _far(self, rollover: Rollover | None) -> HostProgress:
        """Return how far this host is."""
        if rollover is None or _is_over(rollover):
            return HostProgress(self._host)
        taken = self._agent.taken()
        return HostProgress(
            self._host, rollover.id, rollover.phase, rollover.back, waits=self._waits(rollover), taken=taken
        )

    async def _have(self, rollover: Rollover) -> None:
        """Trust whom the phase wants trusted, with their lists, and have certificates of whom it wants."""
        if bygone(rollover, self.vaults.generation):
            return
        wants = desired(rollover)
        if rollover.kind == "vault":
            self._turn(rollover)
        if rollover.phase == "prepare" or (_is_over(rollover) and self._trusts(wants.trusted)):
            return
        await self._trust([await self._root_of(ca) for ca in wants.trusted])
        if len(wants.trusted) > 1:
            await self._ca(rollover.new)
            if self._listless(rollover):
                await self._revocation.look_now()
        if wants.issuer is not None:
            self._agent.reissue(wants.issuer.intermediate)

    def _turn(self, rollover: Rollover) -> None:
        """Look at the lists of both Vaults; use the one whose certificates are desired, which is to begin again."""
        wants = desired(rollover)
        if len(wants.trusted) > 1:
            self.vaults.at(rollover.new.vault)  # UnknownVault, while we could not turn
        if wants.issuer is not None and wants.issuer.vault != self.vaults.url:
            self.vaults.turn(wants.issuer.vault)
        others = [ca.vault for ca in wants.trusted if ca.vault != self.vaults.url]
        self._revocation.look_too(self._place(others[0]) if others else None)
        if rollover.phase == "done":
            self.vaults.forget_others()

    def _place(self, url: str) -> Place:
        return Place(self.vaults.at(url), self.vaults.login(url, self._clock, self._metrics.logged_in))

    async def _trust(self, roots: list[x509.Certificate]) -> None:
        """Trust these roots and no others, on disk first."""
        unique = tuple(dict.fromkeys(roots))
        if self._store.roots() != unique:
            await asyncio.to_thread(self._store.trust, unique)
            log.info("roots are trusted", roots=[root.subject.rfc4514_string() for root in unique])
        self._agent.show_roots(unique)

    def _trusts(self, desired: tuple[CaRef, ...]) -> bool:
        """Say whether these are trusted and no others: else this host was away when a roll-over ended."""
        return {fingerprint(root) for root in self._store.roots()} == {ca.root for ca in desired}

    async def _root_of(self, ca: CaRef) -> x509.Certificate:
        """Return the root of a CA: this host has it already, or Vault shows it and it is the one that is meant."""
        known = (root for root in self._store.roots() if fingerprint(root) == ca.root)
        return next(known, None) or (await self._ca(ca))[1]

    async def _ca(self, ca: CaRef) -> tuple[x509.Certificate, x509.Certificate]:
        """Return the intermediate and the root of a CA."""
        if ca.intermediate not in self._known:
            self._known[ca.intermediate] = await asyncio.to_thread(ca_of, self.vaults.at(ca.vault), ca)
        return self._known[ca.intermediate]

    def _waits(self, rollover: Rollover) -> tuple[str, ...]:
        """Return who on this host is not there yet."""
        if rollover.phase == "prepare":
            return ()
        issuer = desired(rollover).issuer
        return (*self._listless(rollover), *self._agent.waits(issuer.intermediate if issuer else None))

    def _listless(self, rollover: Rollover) -> tuple[str, ...]:
        """Say when lists of revoked certificates are shown and none of the new CA: proxies would refuse its leaves."""
        crls, known = self._agent.trust.crls, self._known.get(rollover.new.intermediate)
        if rollover.phase == "drop" or known is None or not crls:
            return ()
        if any(crl.signer == known[0] for crl in crls):
            return ()
        return (f"the list of revoked certificates of {rollover.new.issuer} is not here: {self._revocation.problem}",)

    async def _say(self, progress: HostProgress) -> bool:
        """Say how far this host is, where xds_server does not know it; return whether it does then."""
        if self._seen.value.hosts.get(self._host) == progress:
            return True
        try:
            await self._xds.send("PUT", "/rollover/hosts", RolloverReport(progress=progress), RolloverView)
        except ControlError as error:
            log.debug("not said how far this host is", reason=str(error))
            return False
        return True

    async def _lead(self, standing: Standing) -> None:
        """Move the roll-over on when nothing speaks against it; another who was faster is right too."""
        after = step(standing, self._clock.now())
        if after is None:
            return
        try:
            move = RolloverMove(version=standing.version, rollover=after)
            await self._xds.send("PUT", "/rollover", move, RolloverView)
        except ControlError as error:
            log.debug("roll-over not moved", reason=str(error))
        else:
            log.info("roll-over", phase=after.phase, kind=after.kind, back=after.back)

    def _measure(self, standing: Standing) -> None:
        self._metrics.roll_over(standing, waits_for(standing, self._clock.now()))


def _is_over(rollover: Rollover | None) -> bool:
    return rollover is None or rollover.phase == "done"


def described(standing: Standing, now: float) -> str | None:
    """Return where a roll-over stands, in a line; None while there is none."""
    rollover = standing.rollover
    if rollover is None or rollover.phase == "done":
        return None
    way = "back" if rollover.back else "on"
    waits = waits_for(standing, now)
    rest = f", and {len(waits) - 3} more" if len(waits) > 3 else ""
    what = "it is paused" if rollover.paused else f"waits for {'; '.join(waits[:3])}{rest}" if waits else "moving"
    return f"roll-over of the {rollover.kind}, {way} its way, at {rollover.phase}: {what}"
