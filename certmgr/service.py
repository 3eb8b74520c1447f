"""certmgr as a process: its tasks, wired once."""

import asyncio
import random
import socket
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from certmgr.agent import Agent
from certmgr.control import metrics_route, routes
from certmgr.core.edge import edge_hosts
from certmgr.core.plan import AWAY_TTL, IdentitySpec, plan
from certmgr.desk import Desk
from certmgr.edge import IssuedSites
from certmgr.embedded import Embedded
from certmgr.enrolment import Enrolment
from certmgr.issue.edge import EdgeEnroller, EdgeIssuer
from certmgr.issue.issuer import Issuer
from certmgr.issue.setup import Authority
from certmgr.issue.vault import Vault, VaultState
from certmgr.ledger import Ledger
from certmgr.lists import Lists, Place
from certmgr.metrics import Metrics
from certmgr.own_root import OwnRoot, begin_anew_where_ended
from certmgr.revocation import Revocation
from certmgr.rollover import RollingOver
from certmgr.rotations import Rotations
from certmgr.settings import Settings
from certmgr.sites import Sites
from certmgr.source import follow, remembered
from certmgr.store import Store
from certmgr.stored import pinned
from certmgr.vaults import Turned, Vaults
from certmgr.wire import Wire, loaded_by
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.runtime.clock import Clock
from legation.runtime.control import server
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.contexts import to_xds_server
from legation.runtime.control.messages import Instance, InstanceList, Revoked, RevokedResult
from legation.runtime.registry import metrics_registry
from legation.runtime.tasks import pause, spawn
from legation.runtime.traces import Traces

log = structlog.get_logger(__name__)

_LOOK_AGAIN: dict[VaultState, float] = {"ok": 3.0, "sealed": 0.5, "unreachable": 0.5, "starting": 0.2}
"""Seconds between looks at Vault's health."""


async def run(settings: Settings, clock: Clock) -> None:
    """Be certmgr until cancelled. The caller holds the lock of the state folder (`Store.lock`)."""
    store = Store(settings.folder.certmgr)
    begin_anew_where_ended(settings.folder, Vaults(settings, store), store, clock.now())
    ledger = Ledger(settings.folder.certmgr / "ledger.jsonl")  # one: threads that outlive a turn write into it too
    broken = ledger.open(clock.now())
    while True:
        try:
            await _run(settings, clock, ledger, broken)
        except* Turned:
            broken = None
            log.info("turned to another Vault", vault=Vaults(settings, store).url or "that of the settings")


async def _run(settings: Settings, clock: Clock, ledger: Ledger, broken: str | None) -> None:
    """Be certmgr until cancelled, or until this host turns to another Vault; `broken` is what the ledger has."""
    service = _Service(settings, clock, ledger)
    service.say_broken(broken)
    service.recall()
    async with AsyncExitStack() as stack:
        await service.listen(stack)
        async with asyncio.TaskGroup() as group:
            spawn(group, "agent", service.agent.run())
            spawn(group, "enrolment", service.enrolment.run(service.recovered))
            spawn(group, "vault", service.watch_vault())
            spawn(group, "revocation", service.revocation.run())
            spawn(group, "mesh", service.follow())
            spawn(group, "sites", service.sites.run())
            spawn(group, "issued sites", service.issued.run(service.sites.tell, service.revocation.revoked))
            spawn(group, "rollover", service.rollover.run())
            spawn(group, "own root", service.own_root.run())
            spawn(group, "wire", service.wire.run())
            spawn(group, "traces", service.traces.run())


class _Service:
    """The parts of certmgr, and what passes between them."""

    def __init__(self, settings: Settings, clock: Clock, ledger: Ledger) -> None:
        """Make the parts; nothing runs yet."""
        self._settings = settings
        self._folder = settings.folder
        self._store = Store(self._folder.certmgr)
        self._vaults = Vaults(settings, self._store)
        self._vault = Vault(self._vaults.address)
        self._state: VaultState = "starting"
        self._metrics = Metrics(metrics_registry())
        embedded = None
        if (number := self._vaults.generation) is not None:
            embedded = Embedded(self._vault, self._folder.openbao(number), self._vaults.way_in(number))
        here = Place(self._vault, self._vaults.login(self._vaults.url, clock, self._metrics.logged_in))
        self.ledger = ledger
        free = embedded is not None
        edge = EdgeEnroller(self._vault, self._store, free=free)
        self.enrolment = Enrolment(self._vault, self._store, clock, self._metrics, here.login, embedded, edge)
        self.traces = Traces("certmgr", self._metrics.registry)
        issuer = Issuer(self._vault, self._store, clock, lambda: self.enrolment.problem, self.ledger.append)
        rotations = Rotations(issuer, clock, self.traces.emit)
        self.agent = rotations.shown_by = Agent(
            rotations,
            self._store,
            self.ledger,
            clock,
            self._metrics,
            socket=settings.sds_socket,
            not_enrolled=self._not_enrolled,
            retry_limit=settings.retry_limit,
            rate=settings.issues_per_second,
        )
        edge_issuer = EdgeIssuer(self._vault, self._store, clock, self.ledger.add, free=free)
        self.issued = IssuedSites(
            edge_issuer.issue,
            self._store,
            self._metrics,
            clock,
            self._not_enrolled,
            retry_limit=settings.retry_limit,
        )
        self.sites = Sites(self._store, self._metrics, self.agent.show_sites, self.issued)
        self.revocation = Revocation(
            Lists(here, self._store.roots, clock),
            self.ledger,
            self._folder.certmgr / "crl.pem",
            clock,
            self._metrics,
            self.agent.show_crls,
            self._deny,
            lambda: frozenset(i.serial for i in self.agent.identities() if i.serial is not None),
            settings.revocation_poll,
        )
        self._xds = self._client()
        self.rollover = RollingOver(
            self._xds,
            f"{settings.host or socket.gethostname()}-{self._store.host_id}",
            self._vaults,
            self._store,
            self.agent,
            self.revocation,
            clock,
            self._metrics,
            leads=not settings.xds,
        )
        self.own_root = OwnRoot(settings.folder, self._vaults, self._store, self._xds, self.rollover.present, clock)
        self.wire = Wire(
            self._xds,
            self.agent.identity,
            self.agent.taken,
            self._metrics,
            settings.wire_look,
            loaded_by(self._folder.admin),
        )
        self.agent.wire_problems = lambda: self.wire.problems
        self._desk = Desk(self.agent, self.revocation, self.ledger, self.enrolment, clock, self._instances)

    def recall(self) -> None:
        """Take in the last mesh, so that what is on disk is served before anybody answers."""
        mesh = remembered(self._store)
        if mesh is not None:
            self._take(mesh, self._store.mesh_folder() or Path())
        elif self._settings.xds:
            self._take_own()
        self.revocation.recall(self.agent.issuers())

    async def listen(self, stack: AsyncExitStack) -> None:
        """Serve the control API while the stack lives."""
        here = server.bind_unix(self._folder.control("certmgr"))
        await stack.enter_async_context(
            server.serve([here], routes(self._desk, self._metrics, self._vault_state, self.rollover, self.own_root))
        )
        if self._settings.metrics_address:
            there = server.bind_tcp(self._settings.metrics_address)
            scrape = [metrics_route(self.agent, self._metrics, self._vault_state)]
            await stack.enter_async_context(server.serve([there], scrape))

    async def follow(self) -> None:
        """Follow the mesh that xds_server has."""
        await follow(self._xds, self._store, self._take)

    async def _deny(self, revoked: Revoked) -> RevokedResult:
        """Tell xds_server what is revoked; while it is away, new handshakes alone are refused."""
        try:
            return await self._xds.send("PUT", "/revoked", revoked, RevokedResult, limit=10 + revoked.wait)
        except ControlError as error:
            log.debug("xds_server does not deny what is revoked", reason=str(error))
            return RevokedResult(unsynced=("all of them, as xds_server does not answer",))

    async def _instances(self) -> Collection[Instance]:
        try:
            return (await self._xds.get("/instances", InstanceList)).instances
        except ControlError as error:
            log.debug("it is not known which proxies there are", reason=str(error))
            return ()

    async def watch_vault(self) -> None:
        """Know how Vault is; when it comes back, look at the set-up and try again what has failed."""
        while True:
            state = await asyncio.to_thread(self._vault.health)
            if state != self._state:
                log.info("vault", state=state, before=self._state, seconds_to_outage=self.agent.seconds_to_outage())
                self._state = state
                if state == "ok":
                    self.enrolment.trigger()
                    self.recovered()
            if state == "ok" and not pinned(self._store):  # somebody has removed it, for another one to be trusted
                self.enrolment.ask()
            await pause(_LOOK_AGAIN[state] * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    def recovered(self) -> None:
        """Try again soon what has failed: Vault is back, or now knows us. It may have another root."""
        roots = pinned(self._store)
        self.agent.turn_to(roots)
        self.issued.turn_to(roots)
        self.agent.recovered()
        self.issued.recovered()

    def _take(self, mesh: Mesh, folder: Path) -> None:
        desired = plan(mesh, self._settings.chosen, self._away)
        has_gateway = any(identity.name == names.GATEWAY for identity in desired)
        hosts = edge_hosts(mesh) if has_gateway else ()
        wish = mesh.certificates
        self.traces.want(mesh.mesh, mesh.tracing)
        authority = Authority(mesh.mesh, mesh.trust_domain, dev=wish.dev, hosts=hosts, stored=wish.stored)
        self.enrolment.want(authority, desired)
        self.own_root.want(authority, settle=wish.ttl.total_seconds())
        self.wire.asked = frozenset(name for name, one in mesh.services.items() if one.protocol == "tcp")
        if has_gateway:
            self.sites.want(mesh, folder)
        self.agent.want(desired)

    def _take_own(self) -> None:
        """Get the identity with which the mesh can be asked for."""
        domain = self._settings.trust_domain
        own = IdentitySpec(names.CERTMGR, names.spiffe_id(domain, names.CERTMGR), AWAY_TTL)
        self.enrolment.want(Authority("", domain), [own])
        self.agent.want([own])

    @property
    def _away(self) -> tuple[str, ...]:
        return (names.CERTMGR,) if self._settings.xds else ()

    def _client(self) -> ControlClient:
        """Return the way to xds_server: its socket, or over mTLS to another host with the identity that we hold."""
        if not self._settings.xds:
            return ControlClient(self._settings.xds_socket)
        return ControlClient(to_xds_server(self._settings.xds, lambda: self.agent.identity(names.CERTMGR)))

    def _not_enrolled(self, name: str, refused: bool) -> None:
        if refused:
            self.enrolment.renew_credentials(name)
        else:
            self.enrolment.ask()

    def say_broken(self, problem: str | None) -> None:
        """Somebody has changed the ledger: that is no accident."""
        if problem is not None:
            log.error("ALARM: the ledger was tampered with", reason=problem)
            self._metrics.alarms.labels("ledger").inc()

    def _vault_state(self) -> VaultState:
        return self._state
