"""The certificates that certmgr has issued for the gateway: on disk, and renewed at half of their life."""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog
from cryptography import x509

from certmgr.core.bundle import Bundle, Damaged
from certmgr.core.edge import EdgeSpec
from certmgr.core.schedule import Schedule
from certmgr.core.trust import anchor
from certmgr.issue.issuer import IssueError, NotEnrolled
from certmgr.issue.login import LoginRefused
from certmgr.issue.vault import Denied, Missing, VaultError
from certmgr.metrics import Metrics
from certmgr.store import Store
from legation.mesh import names
from legation.mesh.edge_files import KeyPair
from legation.mesh.names import serial_text
from legation.runtime.clock import Clock
from legation.runtime.tasks import pause

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5
"""Seconds between two looks at what is due."""


@dataclass(slots=True)
class _Issued:
    spec: EdgeSpec
    pair: KeyPair | None = None
    problem: str | None = None
    condemned: str | None = None

    @property
    def leaf(self) -> x509.Certificate | None:
        return None if self.pair is None else x509.load_pem_x509_certificates(self.pair.chain)[0]


class IssuedSites:
    """The certificates of the services that are exposed with `issuer: certmgr`."""

    def __init__(
        self,
        issue: Callable[[EdgeSpec], Bundle],
        store: Store,
        metrics: Metrics,
        clock: Clock,
        not_enrolled: Callable[[str, bool], None],
        *,
        retry_limit: float = 300.0,
    ) -> None:
        """Prepare; `not_enrolled` hears when Vault does not know, or refuses, who signs."""
        self._issue, self._store, self._metrics, self._clock = issue, store, metrics, clock
        self._not_enrolled = not_enrolled
        self._schedule = Schedule(retry_limit)
        self._issued: dict[str, _Issued] = {}

    def want(self, specs: Sequence[EdgeSpec]) -> None:
        """Have exactly these: what is on disk and still for the same hosts is taken from there."""
        for name in set(self._issued) - {spec.service for spec in specs}:
            del self._issued[name]
            self._schedule.forget(name)
            self._store.forget_site(name)
            self._metrics.forget_site(name)
        for spec in specs:
            known = self._issued.get(spec.service)
            if known is None or known.spec.hosts != spec.hosts:
                self._take(spec)
            elif known.spec != spec:
                known.spec = spec
                self._schedule.add(spec.service, spec.ttl, self._clock.now())

    def _take(self, spec: EdgeSpec) -> None:
        issued = self._issued[spec.service] = _Issued(spec, self._stored(spec))
        leaf = issued.leaf
        life = None if leaf is None else (leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
        self._schedule.forget(spec.service)
        self._schedule.add(spec.service, spec.ttl, self._clock.now(), life=life, jitter=_jitter())

    def _stored(self, spec: EdgeSpec) -> KeyPair | None:
        """Return what is on disk, if certmgr had it issued for these hosts and it is still good."""
        try:
            pair = self._store.site(spec.service)
        except Damaged as error:
            log.warning("stored certificate discarded", service=spec.service, reason=str(error))
            return None
        good = pair is not None and pair.issued and pair.hosts == spec.hosts and pair.not_after > self._clock.now()
        return pair if good else None

    async def run(self, tell: Callable[[], None], revoked: Callable[[], Collection[str]]) -> None:
        """Issue what is due, for ever; `tell` is called after each change. What is revoked is due."""
        while True:
            self._look_at(revoked())
            for name in self._schedule.tick(self._clock.now()):
                await self._attempt(self._issued[name])
                tell()
            await pause(LOOK_EVERY)

    def _look_at(self, revoked: Collection[str]) -> None:
        for name, issued in self._issued.items():
            leaf = issued.leaf
            serial = None if leaf is None else serial_text(leaf.serial_number)
            if serial is not None and serial in revoked and serial != issued.condemned:
                issued.condemned = serial
                self._schedule.trigger(name, self._clock.now())

    async def _attempt(self, issued: _Issued) -> None:
        """Try once; whatever comes of it, the schedule knows."""
        name = issued.spec.service
        try:
            bundle = await asyncio.to_thread(self._issue, issued.spec)
            pair = KeyPair(bundle.chain_pem(), bundle.key_pem(), issued.spec.hosts, bundle.life[1], issued=True)
            if self._is_wanted(issued):
                await asyncio.to_thread(self._store.save_site, name, pair)
        except (IssueError, VaultError, Damaged, OSError) as error:
            if self._is_wanted(issued):
                self._failed(issued, error)
            return
        if self._is_wanted(issued):
            self._keep(issued, pair, bundle)
        elif name not in self._issued:
            self._store.forget_site(name)

    def _is_wanted(self, issued: _Issued) -> bool:
        """Say whether it is still asked for: it may have left, or be for other hosts, since an await."""
        return self._issued.get(issued.spec.service) is issued

    def _keep(self, issued: _Issued, pair: KeyPair, bundle: Bundle) -> None:
        name = issued.spec.service
        issued.pair, issued.problem = pair, None
        self._schedule.issued(name, bundle.life, self._clock.now(), _jitter())
        self._metrics.renewals.labels(names.EDGE, "issued").inc()
        log.info("certificate for the gateway issued", service=name, serial=bundle.serial, not_after=pair.not_after)

    def _failed(self, issued: _Issued, error: Exception) -> None:
        name, awaited = issued.spec.service, isinstance(error, NotEnrolled)
        issued.problem = None if awaited else f"certificate of {name} for the gateway: {error}"
        self._schedule.failed(name, issued.problem, self._clock.now(), random.random())  # noqa: S311 - no secret
        if awaited or isinstance(error, LoginRefused | Denied | Missing):
            self._not_enrolled(names.EDGE, isinstance(error, LoginRefused))
        if not awaited:
            self._metrics.renewals.labels(names.EDGE, "failed").inc()
            log.warning("certificate for the gateway not issued", service=name, reason=str(error))

    def recovered(self) -> None:
        """Try again soon what has failed."""
        self._schedule.recovered(self._clock.now(), random.random)

    def turn_to(self, roots: tuple[x509.Certificate, ...]) -> None:
        """Renew at once who is of none of the roots that are trusted now."""
        for name, issued in self._issued.items():
            chain = () if issued.pair is None else x509.load_pem_x509_certificates(issued.pair.chain)
            if roots and chain and anchor(chain[-1], roots) is None:
                self._schedule.trigger(name, self._clock.now())

    def pairs(self) -> Mapping[str, KeyPair]:
        """Return what there is to show, by service."""
        return {name: one.pair for name, one in self._issued.items() if one.pair is not None}

    def problems(self) -> Mapping[str, str | None]:
        """Return what is wrong with each."""
        return {name: one.problem for name, one in self._issued.items()}


def _jitter() -> float:
    """Return the share of jitter of one renewal, -1 to 1."""
    return random.uniform(-1, 1)  # noqa: S311 - no secret
