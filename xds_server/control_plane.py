"""xds_server's heart: the mesh, the registry and the streams, and what follows from a change of one of them."""

import asyncio
from collections.abc import Iterable

import structlog

from legation.mesh.errors import InvalidMesh, Violation
from legation.mesh.load import load
from legation.mesh.source import SourcedMesh
from legation.runtime.clock import Clock
from legation.runtime.control.messages import (
    ApplyResult,
    Instance,
    InstanceList,
    InstanceState,
    MeshDocument,
    ViolationMessage,
)
from legation.runtime.tasks import Latest, pause
from xds_server.compile import Compiler
from xds_server.convergence import Convergence
from xds_server.fleet import Fleet
from xds_server.metrics import Metrics
from xds_server.node import Node
from xds_server.registry.entry import Entry
from xds_server.registry.registry import Registry
from xds_server.registry.store import Store, StoreFailed
from xds_server.snapshot import NOTHING, Snapshot

log = structlog.get_logger()

_LOOK_EVERY = 0.005
"""Seconds between looks at who has answered: with thousands of streams each look is worth some."""

NO_MESH = MeshDocument(file="", text="")


class ControlPlane:
    """One mesh's control plane. All methods run on one event loop; only the store is asked in a thread."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        """Start with what the store knows."""
        self._store, self._clock, self.metrics = store, clock, metrics
        self.registry = Registry()
        self.fleet = Fleet()
        self.document = Latest(NO_MESH)
        self.instances = Latest(InstanceList(instances=()))
        self.violations: tuple[ViolationMessage, ...] = ()
        self.mesh: SourcedMesh | None = None
        self.compiler: Compiler | None = None
        self._saving = asyncio.Lock()
        self._stored: dict[str, Entry] = {}
        self.specifiers: dict[str, Latest[bytes]] = {}
        self.wake = asyncio.Event()
        self.stale = asyncio.Event()
        self.convergence = Convergence()

    def restore(self) -> None:
        """Take the mesh and the instances of our last life."""
        document = self._store.mesh()
        if document is not None:
            self._readopt(document)
        entries = self._store.load()
        self._stored = {e.node.id: e for e in entries}
        self.registry.restore(entries, self._clock.now())
        self.publish_instances()

    async def apply(self, document: MeshDocument) -> ApplyResult:
        """Take a new mesh file whole, or refuse it whole with all its violations."""
        try:
            mesh = await asyncio.to_thread(load, document.text, document.file)
            self._check_same_mesh(mesh)
        except InvalidMesh as invalid:
            self.violations = tuple(ViolationMessage.of(violation) for violation in invalid.violations)
            self.metrics.applies.labels("refused").inc()
            log.warning("mesh refused, the last good one stays", violations=[str(f) for f in invalid.violations])
            return ApplyResult(version=self.document.value.version, violations=self.violations)
        self.violations = ()
        changed = mesh.version != self.document.value.version
        if changed:
            applied = MeshDocument(file=document.file, text=document.text, version=mesh.version)
            await asyncio.to_thread(self._store.save_mesh, applied)
            self._adopt(mesh, applied)
            self.publish_all()
            log.info("mesh applied", version=mesh.version)
        self.metrics.applies.labels("applied" if changed else "unchanged").inc()
        return ApplyResult(version=mesh.version, changed=changed)

    def snapshot(self, node: Node) -> Snapshot:
        """Return what a node should have now."""
        if self.compiler is None or self.mesh is None:
            return NOTHING
        return self.compiler.snapshot(node, self.registry.endpoints_by_service)

    def publish(self, services: Iterable[str]) -> None:
        """Have the callers of these services told of their endpoints."""
        self._tell(self.fleet.keys_of(self._callers(services)))

    def publish_all(self) -> None:
        """Have every proxy told what it should have, and how to check its app."""
        self._tell(tuple(self.fleet.streams))
        for instance, specifier in self.specifiers.items():
            if (entry := self.registry.entries.get(instance)) is not None:
                specifier.set(self.specifier(entry.node))

    def specifier(self, node: Node) -> bytes:
        """Return how a node checks its app (a serialised HealthCheckSpecifier)."""
        return self.compiler.health_specifier(node) if self.compiler else b""

    def now(self) -> float:
        """Return the time by our clock."""
        return self._clock.now()

    async def changed(self, services: frozenset[str]) -> None:
        """Follow a change of the registry: first durable, then told to the proxies and the watchers.

        A store that fails stops nobody: what it lacks is written with the next change.
        """
        try:
            await self._save()
        except StoreFailed as failed:
            self.metrics.store_failures.inc()
            log.error("registry not stored, a restart now would forget this", error=str(failed))  # noqa: TRY400 - said whole
        self.publish(services)
        self.stale.set()
        self.wake.set()

    async def tick(self) -> None:
        """Withdraw the instances whose grace is over."""
        before = set(self.registry.entries)
        services = self.registry.tick(self._clock.now())
        if gone := before - set(self.registry.entries):
            log.info("instances withdrawn, their sidecars are gone", instances=sorted(gone))
            for instance in gone:
                self.specifiers.pop(instance, None)
            await self.changed(services)

    async def transition(self, instance: str, boot: str, state: InstanceState, wait: float) -> tuple[str, ...]:
        """Take an instance's word about itself; return who has not followed it within `wait` seconds."""
        entry = self.registry.entries.get(instance)
        services = self.registry.transition(instance, boot, state)
        if entry is not None and entry.state != state:
            log.info("instance changed", instance=instance, state=state)
            await self.changed(services)
        return await self.converged(services, wait) if wait else ()

    async def converged(self, services: frozenset[str], limit: float) -> tuple[str, ...]:
        """Wait until every proxy concerned has answered the newest; return the unsynced."""
        callers = self._callers(services)
        try:
            async with asyncio.timeout(limit):
                async for _ in self.fleet.acknowledged.watch():
                    if not self.fleet.unsynced(callers):
                        break
                    await pause(_LOOK_EVERY)
        except TimeoutError:
            return self.fleet.unsynced(callers)
        return ()

    def answered(self, stream: int) -> None:
        """Take that a stream has answered its newest snapshot, or has ended."""
        for seconds in self.convergence.answered(stream, asyncio.get_running_loop().time()):
            self.metrics.convergence.observe(seconds)
        self.stale.set()

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
        return InstanceList(instances=instances, version=self.document.value.version)

    def _callers(self, services: Iterable[str]) -> frozenset[str]:
        """Return whose proxies have the endpoints of these services."""
        compiler = self.compiler
        return frozenset(name for s in services for name in compiler.interested(s)) if compiler else frozenset()

    def _tell(self, streams: tuple[int, ...]) -> None:
        """Give streams what their nodes should have now."""
        self.convergence.began(streams, asyncio.get_running_loop().time())
        for key in streams:
            stream = self.fleet.streams[key]
            stream.snapshots.set(self.snapshot(stream.node))
        self.stale.set()

    def _readopt(self, document: MeshDocument) -> None:
        """Take the stored mesh; one that this version of ours refuses waits for the next apply."""
        try:
            self._adopt(load(document.text, document.file), document)
        except InvalidMesh as invalid:
            log.warning("stored mesh refused, waiting for another", violations=[str(f) for f in invalid.violations])

    def _adopt(self, mesh: SourcedMesh, document: MeshDocument) -> None:
        if self.mesh is not None and self.mesh.mesh.trust_domain != mesh.mesh.trust_domain:
            self.registry.clear()
        self.mesh = mesh
        self.compiler = Compiler(mesh)
        self.document.set(document)

    def _check_same_mesh(self, mesh: SourcedMesh) -> None:
        """Refuse another mesh's file while proxies are connected: every identity in use would be a stranger's."""
        if self.mesh is None or not self.fleet.streams:
            return
        for field in ("mesh", "trust_domain"):
            now, then = getattr(mesh.mesh, field), getattr(self.mesh.mesh, field)
            if now != then:
                message = f"{now!r} is not the running mesh's {then!r}; end it (legation down) to change this"
                raise InvalidMesh([Violation(mesh.position(field), field, message)])

    async def _save(self) -> None:
        """Write what has changed since the last write."""
        async with self._saving:
            touched = self.registry.take_touched()
            now = {i: self.registry.entries.get(i) for i in touched}
            fresh = [e for i, e in now.items() if e is not None and _lasting(self._stored.get(i)) != _lasting(e)]
            gone = [i for i, e in now.items() if e is None and i in self._stored]
            if fresh or gone:
                await self._write(touched, fresh, gone)

    async def _write(self, touched: frozenset[str], fresh: list[Entry], gone: list[str]) -> None:
        """Have the store keep and forget instances; what fails is tried again with the next change."""
        try:
            await asyncio.to_thread(self._store.save, fresh, gone)
        except BaseException:
            self.registry.touch(touched)
            raise
        self._stored.update((e.node.id, e) for e in fresh)
        for instance in gone:
            self._stored.pop(instance, None)

    def _instance(self, entry: Entry) -> Instance:
        streams = self.fleet.of_instance(entry.node.id)
        nacks = tuple(f"{url.rpartition('.')[2]}: {why}" for s in streams for url, why in s.nacks.items())
        node = entry.node
        return Instance(
            id=node.id,
            boot=node.boot,
            service=node.service,
            version=node.version,
            address=node.address,
            port=node.port,
            metrics_port=node.metrics_port,
            zone=node.zone,
            state=entry.state,
            healthy=entry.healthy,
            connected=bool(streams),
            synced=bool(streams) and all(s.synced for s in streams),
            spiffe_id=entry.spiffe_id,
            nacks=nacks,
        )


def _lasting(entry: Entry | None) -> tuple[object, ...] | None:
    """Return what of an entry outlives us."""
    return (entry.node, entry.spiffe_id, entry.state, entry.healthy) if entry else None
