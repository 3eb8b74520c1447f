"""xds_server's heart: the mesh, the registry and the streams, and what follows from a change of one of them."""

import asyncio

import structlog

from legation.mesh.instance import InstanceSpec
from legation.mesh.source import SourcedMesh
from legation.runtime.clock import Clock
from legation.runtime.control.messages import ApplyResult, Instance, InstanceList, InstanceState, MeshDocument
from legation.runtime.tasks import Latest, pause
from xds_server.apply import Applier
from xds_server.compile import Compiler
from xds_server.metrics import Metrics
from xds_server.persist import Persister
from xds_server.protocol.types import Effect
from xds_server.publish import Publisher
from xds_server.registry.entry import Entry
from xds_server.registry.registry import Registry
from xds_server.registry.store import Store
from xds_server.snapshot import Snapshot

log = structlog.get_logger()

_PATIENCE = 1.0
"""Seconds that a certificate which is to be revoked still serves a proxy that does not answer."""

_LOOK_EVERY = 0.005
"""Seconds between looks at who has answered: with thousands of streams each look is worth some."""


class ControlPlane:
    """One mesh's control plane: applies, publishes and persists. All methods run on one event loop."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        """Start with nothing; `restore` takes what the store knows."""
        self._clock, self.metrics = clock, metrics
        self.registry = Registry()
        self.publisher = Publisher(self.registry, clock, metrics)
        fleet = self.publisher.fleet
        self.applier = Applier(store, metrics, fleet.nodes, lambda: self.publisher.revoked, self._adopt)
        self._store = store
        self._persister = Persister(self.registry, store, metrics)
        self.instances = Latest(InstanceList(instances=()))
        self.wake = asyncio.Event()
        self.stale = asyncio.Event()
        self._following: set[asyncio.Task[None]] = set()

    @property
    def mesh(self) -> SourcedMesh | None:
        """The applied mesh."""
        return self.applier.mesh

    def restore(self) -> None:
        """Take the mesh and the instances of our last life."""
        self._persister.restore(self._clock.now())
        self.publisher.revoked = self._store.revoked()
        self.applier.restore()
        self.publish_instances()

    async def apply(self, document: MeshDocument) -> ApplyResult:
        """Take a new mesh file whole, or reject it whole with all its violations."""
        result, changed = await self.applier.apply(document)
        if changed:
            await self.publisher.publish_all()
            self.stale.set()
        return result

    async def revoke(self, serials: frozenset[str], wait: float, *, gently: bool = False) -> tuple[str, ...]:
        """Deny what peers with these certificates ask for; return whose proxies have not ACKed that in time.

        Gently: their owners have new ones, and are first to use them on new connections.
        """
        if serials != self.publisher.revoked:
            await asyncio.to_thread(self._store.save_revoked, serials)
            if gently:
                await self.publisher.renew_connections(serials)
                await self._answered(self._everybody(), _PATIENCE)
            await self.publisher.revoke(serials)
            log.info("revoked", certificates=len(serials))
        return await self._answered(self._everybody(), wait)

    def _everybody(self) -> frozenset[str]:
        return frozenset(stream.node.service for stream in self.publisher.fleet.streams.values())

    async def connected(self, node: InstanceSpec, spiffe_id: str) -> tuple[int, Latest[Snapshot]]:
        """Take a stream of an instance; return its key and its snapshots. StaleBoot or ForeignId: it may have none."""
        key, stream = self.publisher.fleet.opened(node)
        try:
            await self.changed(self.registry.connected(node, spiffe_id, key))
        except BaseException:  # rejected, or the client has left meanwhile, and nobody else would know
            self.disconnected(key)
            raise
        self.publisher.fleet.tell(key, self.publisher.snapshot(node))
        return key, stream.snapshots

    def observe(self, key: int, effect: Effect) -> None:
        """Take what happens on a stream."""
        if self.publisher.fleet.observe(key, effect):
            self.publisher.answered(key)
            self.stale.set()

    def disconnected(self, key: int) -> InstanceSpec | None:
        """Take the end of a stream: its instance's grace begins. Return whose stream it was."""
        node = self.publisher.fleet.closed(key)
        self.publisher.answered(key)
        if node is not None:
            if self.publisher.compiler is not None and not self.publisher.fleet.of_instance(node.id):
                self.publisher.compiler.forget(node.id)
            self._follow(self.registry.disconnected(node.id, key, self._clock.now()))
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
        services = self.registry.tick(self._clock.now())
        if gone := before - set(self.registry.entries):
            log.info("instances withdrawn, their sidecars are gone", instances=sorted(gone))
            for instance in gone:
                self.publisher.specifiers.pop(instance, None)
        if gone or services:
            await self.changed(services)

    async def transition(self, instance: str, boot: str, state: InstanceState, wait: float) -> tuple[str, ...]:
        """Record an instance's reported state; return whose proxies have not ACKed it within `wait` seconds."""
        entry = self.registry.entries.get(instance)
        services = self.registry.transition(instance, boot, state)
        if entry is not None and entry.state != state:
            log.info("instance changed", instance=instance, state=state)
            # a change of state may be one of an outage where it is none of endpoints
            await self.changed(services | {entry.node.service})
        return await self.converged(services, wait) if wait else ()

    async def converged(self, services: frozenset[str], limit: float) -> tuple[str, ...]:
        """Wait until every proxy concerned has answered the newest; return those that have not in time."""
        return await self._answered(self.publisher.callers(services), limit)

    async def _answered(self, callers: frozenset[str], limit: float) -> tuple[str, ...]:
        fleet = self.publisher.fleet
        try:
            async with asyncio.timeout(limit):
                async for _ in fleet.acknowledged.watch():
                    if fleet.is_synced(callers):
                        break
                    await pause(_LOOK_EVERY)
        except TimeoutError:
            return fleet.unsynced(callers)
        return ()

    def publish_instances(self) -> None:
        """Tell the watchers of the registry what it holds now. For a task that lets changes gather."""
        self.stale.clear()
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
        return None if due is None else max(0.0, due - self._clock.now())

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
        )
