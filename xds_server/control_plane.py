"""xds_server's heart: the mesh, the registry and the streams, and what follows from a change of one of them."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog

from legation.mesh.instance import InstanceSpec
from legation.mesh.source import SourcedMesh
from legation.runtime.clock import SteadyClock
from legation.runtime.control.messages import (
    ApplyResult,
    Instance,
    InstanceList,
    InstanceState,
    MeshDocument,
    RestartReason,
    Revoked,
    RevokedResult,
)
from legation.runtime.tasks import Latest, pause
from legation.runtime.trail import Step
from xds_server.apply import Applier
from xds_server.changes import Changes
from xds_server.compile import Compiler
from xds_server.deliveries import Deliveries
from xds_server.fleet import Stream
from xds_server.metrics import Metrics
from xds_server.persist import Persister
from xds_server.protocol.types import Effect
from xds_server.prove.prover import Prover
from xds_server.publish import Publisher
from xds_server.registry.entry import Entry
from xds_server.registry.registry import Registry
from xds_server.registry.store import Store, StoreFailed
from xds_server.rollovers import Rollovers
from xds_server.snapshot import Snapshot

log = structlog.get_logger()

_WAIT_LIMIT = 30.0
"""Seconds that whoever revokes may wait for proxies, at most."""

_PATIENCE = 2.0
"""Seconds that a certificate which is to be revoked still serves a proxy that does not answer."""

_IN_FLIGHT = 1.0
"""Seconds until what was sent on a connection has arrived, be there no idle processor: that a proxy has another
cluster says what it sends next, and not that the one it calls has read what came before."""


class ControlPlane:
    """One mesh's control plane: applies, publishes and persists. All methods run on one event loop."""

    def __init__(
        self,
        store: Store,
        clock: SteadyClock,
        metrics: Metrics,
        prover: Prover | None = None,
        emit: Callable[[Step], None] = lambda _: None,
    ) -> None:
        """Start with nothing; `restore` takes what the store knows. Without a prover meshes are applied as compiled.

        `emit` gets each change of the mesh, step by step, once it is over.
        """
        self._clock, self.metrics = clock, metrics
        self.registry = Registry()
        self.publisher = Publisher(self.registry, clock, metrics)
        fleet = self.publisher.fleet
        self.applier = Applier(store, metrics, fleet.nodes, lambda: self.publisher.revoked, self._adopt, prover)
        self._changes = Changes(fleet, clock, emit)
        self._store = store
        self._persister = Persister(self.registry, store, metrics)
        self.rollovers = Rollovers(store, lambda: self.registry.entries)
        self.instances = Latest(InstanceList(instances=()))
        self.wake = asyncio.Event()
        self.stale = asyncio.Event()
        self._following: set[asyncio.Task[None]] = set()
        self._revoking = asyncio.Lock()
        self._list_number: int | None = None
        self.end_streams: Callable[[frozenset[str]], int] = lambda _: 0
        """Ends the streams that were opened with these certificates; whoever serves them puts it here."""

    @property
    def mesh(self) -> SourcedMesh | None:
        """The applied mesh."""
        return self.applier.mesh

    def restore(self) -> None:
        """Take the mesh and the instances of our last life."""
        self._persister.restore(self._clock.elapsed())
        self.publisher.revoked = self._store.revoked()
        self.applier.restore()
        self.publish_instances()

    async def apply(self, document: MeshDocument) -> ApplyResult:
        """Take a new mesh file whole, or reject it whole with all its violations."""
        trail = self._changes.begin(document)
        try:
            result, changed = await self.applier.apply(document, trail, self._clock.now())
        except StoreFailed as error:
            self._changes.failed(trail, error)
            raise
        if result.violations:
            self._changes.failed(trail, "\n".join(map(str, result.violations)))
        if changed:
            deliveries = Deliveries()
            with trail.step("publish") as publish:
                await self.publisher.publish_all(deliveries)
            self.stale.set()
            self._changes.published(trail, publish, deliveries, result.version)
        return result

    async def revoke(self, said: Revoked) -> RevokedResult:
        """Deny what peers with these certificates ask for; say whose proxies have not ACKed that in time.

        Gently: their owners have new ones, and are first to use them on new connections. Otherwise nobody
        calls the instances with these certificates any more, from now on.
        """
        async with self._revoking:  # another host's word may not overtake one that goes gently
            await self._deny(said)
            withdrawn = await self._cut_off(gently=said.gently)
        unsynced = await self.publisher.fleet.converged(self._everybody(), min(_WAIT_LIMIT, said.wait))
        return RevokedResult(unsynced=unsynced, withdrawn=withdrawn)

    async def _deny(self, said: Revoked) -> None:
        known, serials = self.publisher.revoked, frozenset(said.serials)
        if self._list_number is None or said.number <= self._list_number:
            serials |= known.serials  # hosts read the list at different times: an older one takes nobody off
        self._list_number = max(said.number, self._list_number or 0)
        if serials == known.serials:
            return
        revoked = known.with_serials(serials, self._connections(serials - known.serials, said))
        await asyncio.to_thread(self._store.save_revoked, revoked)
        if said.gently:
            await self._renew_connections(serials)
        await self.publisher.revoke(revoked)
        log.info("revoked", certificates=len(serials))

    async def _renew_connections(self, serials: frozenset[str]) -> None:
        """Have all callers send on new connections, and what they sent on the old ones arrive."""
        await self.publisher.renew_connections(serials)
        await self.publisher.fleet.converged(self._everybody(), _PATIENCE)
        if self.publisher.fleet.streams:
            await pause(_IN_FLIGHT)

    def _connections(self, fresh: frozenset[str], said: Revoked) -> frozenset[str]:
        """Return where there may be TCP connections of the owners of these certificates."""
        compiler = self.publisher.compiler
        if compiler is None:
            return frozenset()
        owners = {said.owners.get(serial) for serial in fresh}
        return frozenset(c for owner in owners for c in compiler.connections_of(owner, serves=not said.gently))

    async def _cut_off(self, *, gently: bool) -> tuple[str, ...]:
        """End what proxies with revoked certificates have here; return the instances that are withdrawn for it.

        Gently they have the grace of any lost stream to come back with their new certificate.
        """
        serials, fleet = self.publisher.revoked.serials, self.publisher.fleet
        hit = {stream.node.id for stream in fleet.with_certificates(serials)}
        hit = {i for i in hit if all(stream.serial in serials for stream in fleet.of_instance(i))}
        withdrawn = () if gently else await self._expel(hit)
        if ended := self.end_streams(serials):
            log.warning("streams of revoked certificates ended", streams=ended, withdrawn=withdrawn)
        return withdrawn

    async def _expel(self, instances: Collection[str]) -> tuple[str, ...]:
        """Withdraw instances from all callers at once; return those that there were."""
        gone = tuple(sorted(i for i in instances if i in self.registry.entries))
        if gone:
            services = self.registry.expelled(gone)
            self._forget(gone)
            await self.changed(services)
        return gone

    def showed_revoked(self, node: InstanceSpec) -> None:
        """Take that an instance wanted a stream with a revoked certificate: if it has no other, it is withdrawn."""
        entry = self.registry.entries.get(node.id)
        if entry is not None and not entry.streams and entry.node.boot == node.boot:
            self._follow(self.registry.expelled([node.id]))
            self._forget([node.id])
            log.warning("instance withdrawn, its certificate is revoked", instance=node.id)

    def _everybody(self) -> frozenset[str]:
        return frozenset(stream.node.service for stream in self.publisher.fleet.streams.values())

    async def connected(
        self, node: InstanceSpec, spiffe_id: str, serial: str | None = None
    ) -> tuple[int, Latest[Snapshot]]:
        """Take a stream of an instance; return its key and its snapshots. StaleBoot or ForeignId: it may have none."""
        key, stream = self.publisher.fleet.opened(node, serial)
        try:
            await self.changed(self._registered(node, spiffe_id, key))
        except BaseException:  # rejected, or the client has left meanwhile, and nobody else would know
            self.disconnected(key)
            raise
        self.publisher.fleet.tell(key, self.publisher.snapshot(node))
        return key, stream.snapshots

    def _registered(self, node: InstanceSpec, spiffe_id: str, key: int) -> frozenset[str]:
        """Register a stream. A new instance that is to be checked is unwell until its first result says otherwise."""
        known = self.registry.entries.get(node.id)
        if node.standalone and known is not None and known.state == "draining" and not known.streams:
            # its bootstrap is a file, so a new life of it has no new name
            self.registry.expelled([node.id])
            known = None
        services = self.registry.connected(node, spiffe_id, key)
        is_new = known is None or known.node.boot != node.boot
        return services | self.registry.health(node.id, False) if is_new and self.publisher.checks(node) else services

    def observe(self, key: int, effect: Effect) -> None:
        """Take what happens on a stream."""
        if self.publisher.fleet.observe(key, effect):
            self.publisher.answered(key)
            self.stale.set()
            self._serves(self.publisher.fleet.streams[key])

    def _serves(self, stream: Stream) -> None:
        """Take that a proxy without a `legation run` has all of its configuration: nobody else says that it serves."""
        node, entry = stream.node, self.registry.entries.get(stream.node.id)
        if node.standalone and stream.synced and entry is not None and entry.state == "starting":
            self._follow(self.registry.transition(node.id, node.boot, "ready"))
            log.info("instance changed", instance=node.id, state="ready")

    def disconnected(self, key: int) -> InstanceSpec | None:
        """Take the end of a stream: its instance's grace begins. Return whose stream it was."""
        node = self.publisher.fleet.closed(key)
        self.publisher.answered(key)
        if node is not None:
            if self.publisher.compiler is not None and not self.publisher.fleet.of_instance(node.id):
                self.publisher.compiler.forget(node.id)
            self._follow(self.registry.disconnected(node.id, key, self._clock.elapsed()))
        return node

    def health_specifier(self, node: InstanceSpec) -> Latest[bytes]:
        """Return how a node checks its app, now and after each change."""
        specifier = self.publisher.specifiers.setdefault(node.id, Latest(b""))
        specifier.set(self.publisher.specifier(node))
        return specifier

    def health(self, node: InstanceSpec, healthy: bool | None) -> None:
        """Record the result of an instance's own health checks; only a change goes further."""
        entry = self.registry.entries.get(node.id)
        own = entry is not None and entry.node.service == node.service
        if entry is not None and own and healthy is not None and entry.healthy != healthy:
            log.info("health changed", instance=node.id, healthy=healthy)
            self._follow(self.registry.health(node.id, healthy))

    async def changed(self, services: frozenset[str]) -> None:
        """Follow a change of the registry: first durable, then told to the proxies and the watchers."""
        await self._persister.save()
        await self.publisher.publish(services)
        self.stale.set()
        self.wake.set()

    async def tick(self) -> None:
        """Withdraw the instances whose grace is over."""
        before = set(self.registry.entries)
        services = self.registry.tick(self._clock.elapsed())
        if gone := before - set(self.registry.entries):
            log.info("instances withdrawn, their sidecars are gone", instances=sorted(gone))
            self._forget(gone)
        if gone or services:
            await self.changed(services)

    def _forget(self, instances: Iterable[str]) -> None:
        for instance in instances:
            self.publisher.specifiers.pop(instance, None)

    async def transition(
        self,
        instance: str,
        boot: str,
        state: InstanceState,
        wait: float,
        envoy_restarts: Mapping[RestartReason, int] | None = None,
    ) -> tuple[str, ...]:
        """Record an instance's reported state; return whose proxies have not ACKed it within `wait` seconds."""
        entry = self.registry.entries.get(instance)
        services = self.registry.transition(instance, boot, state, envoy_restarts)
        self.stale.set()
        if entry is not None and entry.state != state:
            log.info("instance changed", instance=instance, state=state)
            # a change of state may be one of an outage where it is none of endpoints
            await self.changed(services | {entry.node.service})
        return await self.converged(services, wait) if wait else ()

    async def converged(self, services: frozenset[str], limit: float) -> tuple[str, ...]:
        """Wait until every proxy concerned has answered the newest; return those that have not in time."""
        return await self.publisher.fleet.converged(self.publisher.callers(services), limit)

    def publish_instances(self) -> None:
        """Tell the watchers of the registry what it holds now. For a task that lets changes gather."""
        self.stale.clear()
        self.rollovers.look()
        now = self.instance_list()
        self.metrics.count_instances(now)
        if now != self.instances.value:
            self.instances.set(now)

    def instance_list(self) -> InstanceList:
        """Return the registry as others see it."""
        entries = sorted(self.registry.entries.items())
        instances = tuple(self._instance(entry) for _, entry in entries)
        return InstanceList(instances=instances, version=self.applier.document.value.version)

    def next_tick(self) -> float | None:
        """Return the seconds until `tick` is due; None: not before a change."""
        due = self.registry.next_wake()
        return None if due is None else max(0.0, due - self._clock.elapsed())

    def _adopt(self, mesh: SourcedMesh, compiler: Compiler) -> None:
        if self.mesh is not None and self.mesh.mesh.trust_domain != mesh.mesh.trust_domain:
            self.registry.clear()
        self.publisher.adopt(compiler, mesh.mesh.services)

    def _follow(self, services: frozenset[str]) -> None:
        """Let a change take its course; the stream that brought it does not wait."""
        task = asyncio.ensure_future(self.changed(services))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def _instance(self, entry: Entry) -> Instance:
        streams = self.publisher.fleet.of_instance(entry.node.id)
        return Instance(
            spec=entry.node,
            state=entry.state,
            healthy=entry.healthy,
            connected=bool(streams),
            synced=bool(streams) and all(s.synced for s in streams),
            spiffe_id=entry.spiffe_id,
            nacks=tuple(line for s in streams for line in s.rejections),
            envoy_restarts=dict(entry.envoy_restarts),
        )
