"""The host's agent: holds the identities of this host, has each renewed in time, and shows it on its own socket.

Whatever happens to Vault, what there is stays on show: a certificate is only ever replaced by a
newer one that was verified and is safely on disk.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import structlog
from cryptography import x509

from certmgr.core.bundle import Bundle, Damaged
from certmgr.core.crl import Crl
from certmgr.core.plan import IdentitySpec
from certmgr.core.schedule import Schedule, jitter
from certmgr.core.trust import Trust
from certmgr.held import Held, error_of, taken, waits
from certmgr.issuance import Book, Issuance, Issuing
from certmgr.issue.issuer import IssueError, NotEnrolled
from certmgr.issue.login import LoginRefused
from certmgr.issue.vault import AWAY, Denied, Missing, VaultError
from certmgr.metrics import Metrics
from certmgr.sds import Secrets, Sites
from certmgr.store import Store
from certmgr.stored import pinned, stored
from legation.mesh import names
from legation.runtime.clock import Clock
from legation.runtime.control.messages import Identity, ProxyReport
from legation.runtime.identity import Identity as Presented
from legation.runtime.tasks import Moves, backoff, spawn
from xds_server import serve

log = structlog.get_logger(__name__)

_LONGEST_SLEEP = 5.0
"""Seconds after which the wall clock is looked at again, in case it was stepped or the host was suspended."""

_SDS_GRACE = 0.5


class Agent:
    """The identities of one host."""

    def __init__(
        self,
        issuer: Issuing,
        store: Store,
        book: Book,
        clock: Clock,
        metrics: Metrics,
        *,
        socket: Callable[[str], Path],
        not_enrolled: Callable[[str, bool], None],
        retry_limit: float = 300.0,
        rate: float = 50.0,
    ) -> None:
        """Prepare. `not_enrolled(name, refused)` is called when Vault does not know, or refuses, an identity."""
        self._store, self._book, self._clock, self._metrics = store, book, clock, metrics
        self._issuance = Issuance(issuer, store, book, clock, metrics, self._may_use, rate)
        self._socket, self._not_enrolled = socket, not_enrolled
        self._schedule = Schedule(retry_limit)
        self._held: dict[str, Held] = {}
        self._kicked = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.moves = Moves()  # of proxies that take something, and of certificates
        self.wire_problems: Callable[[], Mapping[str, str]] = dict  # who looks at what proxies show puts it here
        self._trust = Trust(pinned(store))
        self._sites: Sites = {}
        self._sites_problem: str | None = None

    def __contains__(self, name: str) -> bool:
        """Say whether an identity is held."""
        return name in self._held

    async def run(self) -> None:
        """Issue what is due, for ever, and serve every identity on its socket."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            stack.callback(self._issuance.close)
            self._group = group
            for held in self._held.values():
                self._serve(held)
            while True:
                self._kicked.clear()
                for name in self._schedule.tick(self._clock.now()):
                    self._held[name].started += 1  # now, or who asks before the task runs would have one more
                    spawn(group, f"issue {name}", self._attempt(self._held[name]))
                await self._until_due()

    async def _until_due(self) -> None:
        """Wait for the next due time or a kick. In short waits: the wall clock may be stepped under us."""
        wake = self._schedule.next_wake()
        wait = _LONGEST_SLEEP if wake is None else min(_LONGEST_SLEEP, max(0.0, wake - self._clock.now()))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._kicked.wait()

    def want(self, desired: Sequence[IdentitySpec]) -> None:
        """Hold exactly these identities: new ones are taken from disk or issued, others are dropped."""
        for name in set(self._held) - {identity.name for identity in desired}:
            self._drop(name)
        for identity in desired:
            held = self._held.get(identity.name)
            if held is None:
                self._take(identity)
            elif held.spec != identity:
                self._change(held, identity)
        self._kicked.set()

    def _take(self, spec: IdentitySpec) -> None:
        """Start to hold an identity, with the bundle on disk where that can be served."""
        secrets = Secrets(spec.name, self._metrics.nacks.labels(spec.name).inc, self.moves)
        if spec.name == names.GATEWAY:
            secrets.show_sites(self._sites)
        kept = stored(self._store, spec, self._trust, self._clock.now(), self._book.is_revoked)
        held = self._held[spec.name] = Held(spec, secrets, kept)
        self._metrics.expect(spec.name)
        life = None
        if held.bundle is not None:
            life = held.bundle.life
            self._show(held, held.bundle)
        self._schedule.add(spec.name, spec.ttl, self._clock.now(), life=life, jitter=self._jitter(spec.name))
        if self._store.is_shut_out(spec.name):
            self._schedule.suspend(spec.name)
        self._serve(held)

    def _change(self, held: Held, spec: IdentitySpec) -> None:
        """Take in another life or name; the certificate on show stays until the new one is there."""
        renamed = held.spec.spiffe_id != spec.spiffe_id
        held.spec = spec
        self._schedule.add(spec.name, spec.ttl, self._clock.now())
        if renamed:
            self._schedule.trigger(spec.name, self._clock.now())

    def _drop(self, name: str) -> None:
        """Stop to hold an identity, and forget its key."""
        self._schedule.forget(name)
        self._held.pop(name).gone.set()
        self._issuance.forget(name)
        self._store.discard_bundle(name)
        self._metrics.forget(name)
        log.info("identity left the mesh", identity=name)

    def _jitter(self, name: str) -> float:
        return jitter(self._store.host_id, name, random.random())  # noqa: S311 - no secret

    def _serve(self, held: Held) -> None:
        if self._group is None:  # run() will
            return
        spawn(self._group, f"sds {held.spec.name}", self._socket_of(held))

    async def _socket_of(self, held: Held) -> None:
        """Serve one identity's socket until it leaves the mesh."""
        path = self._socket(held.spec.name)
        async for _ in backoff(_SDS_GRACE, 5.0):
            try:
                async with serve(held.secrets, address=path, grace=_SDS_GRACE):
                    await held.gone.wait()
            except OSError as error:
                log.warning("identity is not on its socket", identity=held.spec.name, reason=str(error))
            else:
                return

    async def _attempt(self, held: Held) -> None:
        """Try once to issue an identity; whatever comes of it, the schedule knows."""
        name, number = held.spec.name, held.started
        try:
            bundle = await self._issuance.issue(held)
        except (IssueError, VaultError, Damaged, OSError) as error:
            self._failed(held, error)
        else:
            if not held.gone.is_set():
                self._issued(held, bundle)
            elif name not in self._held:
                self._store.discard_bundle(name)
        held.attempts.set(number)
        self._kicked.set()
        self.moves.moved()

    def _may_use(self, bundle: Bundle) -> bool:
        """Say whether the list of revoked certificates of an issuer is shown: without it peers would refuse us."""
        return self._trust.covers(bundle)

    def _issued(self, held: Held, bundle: Bundle) -> None:
        name = held.spec.name
        self._show(held, bundle)
        self._schedule.issued(name, bundle.life, self._clock.now(), self._jitter(name))
        self._metrics.renewals.labels(name, "issued").inc()
        log.info("certificate issued", identity=name, serial=bundle.serial, not_after=bundle.life[1])

    def _failed(self, held: Held, error: Exception) -> None:
        if held.gone.is_set():
            return
        name, now = held.spec.name, self._clock.now()
        awaited = isinstance(error, NotEnrolled) and error.problem is None
        held.vault_away = awaited or isinstance(error, AWAY)
        self._schedule.failed(name, None if awaited else str(error), now, random.random())  # noqa: S311 - no secret
        if isinstance(error, NotEnrolled):  # a start takes its time: no failure, and no news
            self._not_enrolled(name, False)
            return
        self._metrics.renewals.labels(name, "failed").inc()
        self._metrics.failures.labels(type(error).__name__).inc()
        left = None if held.bundle is None else round(held.bundle.life[1] - now)
        if held.is_news(str(error), now):
            log.warning("certificate not issued", identity=name, reason=str(error), seconds_left=left)
        if isinstance(error, LoginRefused | Denied | Missing):
            self._not_enrolled(name, isinstance(error, LoginRefused))

    def _show(self, held: Held, bundle: Bundle) -> None:
        held.bundle = bundle
        held.secrets.show(bundle, self._trust)
        self._metrics.expiry.labels(held.spec.name).set(bundle.life[1])

    def show_crls(self, crls: tuple[Crl, ...]) -> None:
        """Show lists of revoked certificates with every identity, or none."""
        self._show_trust(replace(self._trust, crls=crls))

    def show_roots(self, roots: tuple[x509.Certificate, ...]) -> None:
        """Show with every identity by which roots its peers are checked."""
        self._show_trust(replace(self._trust, roots=roots))

    def turn_to(self, roots: tuple[x509.Certificate, ...]) -> None:
        """Trust roots that somebody has put in the place of others; renew at once who is of none of them."""
        if not roots or roots == self._trust.roots:
            return
        self.show_roots(roots)
        for held in self._serving():
            if held.bundle is not None and held.bundle.root not in roots:
                self._issuance.forget(held.spec.name)
                self._schedule.trigger(held.spec.name, self._clock.now())
        self._kicked.set()

    def _show_trust(self, trust: Trust) -> None:
        self._trust = trust
        for held in self._held.values():
            if held.bundle is not None:
                held.secrets.show(held.bundle, trust)
        self.moves.moved()

    def show_sites(self, sites: Sites, problem: str | None) -> None:
        """Show the gateway's own certificates for the world outside, and say what is wrong with others."""
        self._sites, self._sites_problem = sites, problem
        if (gateway := self._held.get(names.GATEWAY)) is not None:
            gateway.secrets.show_sites(sites)

    def chain(self, name: str) -> bytes | None:
        """Return the public certificates of an identity, in PEM; None when there are none."""
        held = self._held.get(name)
        return None if held is None or held.bundle is None else held.bundle.chain_pem() + held.bundle.root_pem()

    def identity(self, name: str) -> Presented | None:
        """Return an identity that is held, to show it to peers ourselves; None while there is none."""
        held = self._held.get(name)
        if held is None or held.bundle is None:
            return None
        bundle = held.bundle
        return Presented.of(bundle.chain_pem(), bundle.key_pem(), self._trust.roots_pem(bundle))

    @property
    def trust(self) -> Trust:
        """Whom the peers of all identities are checked against."""
        return self._trust

    def issuers(self) -> tuple[x509.Certificate, ...]:
        """Return the intermediates of what is served."""
        served = (held.bundle.chain[0] for held in self._held.values() if held.bundle is not None)
        return tuple(dict.fromkeys(served))

    def reissue(self, intermediate: str) -> None:
        """Have each identity that is not of an intermediate (its SHA-256) renewed; who is shut out stays so."""
        for held in self._serving():
            entry = self._schedule.get(held.spec.name)
            if not held.is_from(intermediate) and entry is not None and entry.due is not None and not entry.failures:
                self._schedule.trigger(held.spec.name, self._clock.now())
        self._kicked.set()

    def waits(self, intermediate: str | None) -> tuple[str, ...]:
        """Return who has not taken what is shown, or has no certificate of an intermediate (None: of any), by name."""
        known = ((name, self._schedule.get(name)) for name in self._held)
        errors = {name: entry.error for name, entry in known if entry is not None and entry.error is not None}
        return tuple(waits(self._serving(), intermediate, errors))

    def taken(self) -> tuple[str, ...]:
        """Return the nodes that have taken what is shown."""
        return taken(self._held.values())

    def _serving(self) -> tuple[Held, ...]:
        return tuple(held for name, held in self._held.items() if not self._store.is_shut_out(name))

    def shut_out(self, name: str) -> None:
        """Renew an identity no more: what it shows is revoked. `renew` lets it in again."""
        self._store.shut_out(name)
        self._schedule.suspend(name)
        log.warning("identity is shut out", identity=name)

    async def acknowledged(self, of: Collection[str], limit: float) -> tuple[ProxyReport, ...]:
        """Wait until every proxy of some identities has taken what is shown, at most `limit` s; say how each is."""
        held = [self._held[name] for name in of if name in self._held]
        await self.moves.until(lambda: not any(one.secrets.late() for one in held), limit)
        return tuple(
            ProxyReport(name=one.spec.name, streams=one.secrets.streams, acknowledged=one.secrets.acknowledged)
            for one in held
        )

    def recovered(self) -> None:
        """Try again soon what has failed: Vault is back, or now knows us."""
        self._schedule.recovered(self._clock.now(), random.random)
        self._kicked.set()

    async def renew(self, name: str, limit: float = 30.0) -> Identity:
        """Renew an identity now and return how it then is; TimeoutError after `limit` seconds, KeyError if unknown."""
        held = self._held[name]
        self._store.let_in(name)
        number = held.started + 1
        self._schedule.trigger(name, self._clock.now())
        self._kicked.set()
        async with asyncio.timeout(limit):
            async for done in held.attempts.watch():
                if done >= number:
                    break
        return self._identity(held)

    def is_worth_waiting(self, name: str) -> bool:
        """Say whether the last attempt to renew an identity failed for what passes by itself."""
        return self._held[name].vault_away

    def ready(self) -> bool:
        """Say whether every identity has a valid certificate."""
        return self._schedule.ready(self._clock.now())

    def seconds_to_outage(self) -> float | None:
        """Return the seconds until the first certificate in use expires."""
        return self._schedule.seconds_to_outage(self._clock.now())

    def identities(self) -> tuple[Identity, ...]:
        """Return how each identity is, in the order of the mesh."""
        return tuple(self._identity(held) for held in self._held.values())

    def _revoked(self, held: Held) -> str | None:
        """Say that what an identity shows is revoked: by somebody in Vault, as one that is revoked here is replaced."""
        if held.bundle is None or not any(held.bundle.serial in crl.serials for crl in self._trust.crls):
            return None
        return f"its certificate is revoked: legation certs rotate {held.spec.name} gives it another"

    def _identity(self, held: Held) -> Identity:
        name = held.spec.name
        entry = self._schedule.get(name)
        life = (None, None) if held.bundle is None else held.bundle.life
        self._metrics.streams.labels(name).set(held.secrets.streams)
        return Identity(
            name=name,
            spiffe_id=held.spec.spiffe_id,
            serial=None if held.bundle is None else held.bundle.serial,
            not_before=life[0],
            not_after=life[1],
            renew_at=None if entry is None else entry.due,
            streams=held.secrets.streams,
            error="it is shut out: legation certs rotate lets it in again"
            if self._store.is_shut_out(name)
            else self._revoked(held)
            or self.wire_problems().get(name)
            or error_of(entry, held.secrets.nacked)
            or (self._sites_problem if name == names.GATEWAY else None),
        )
