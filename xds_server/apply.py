"""Mesh files: loaded and checked, made durable, compiled ahead; all of one or nothing of it."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import structlog

from legation.mesh.errors import InvalidMesh, Violation
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.source import SourcedMesh
from legation.mesh.summarize import summarize
from legation.runtime.control.messages import ApplyResult, MeshDocument, ViolationMessage
from legation.runtime.edge_files import check_files
from legation.runtime.garbage import Collector
from legation.runtime.tasks import Latest
from legation.runtime.trail import Trail
from xds_server.compile import Compiler
from xds_server.metrics import Metrics
from xds_server.prove.affected import affected
from xds_server.prove.prover import Prover
from xds_server.registry.store import Store
from xds_server.revocations import Revocations

log = structlog.get_logger()

NO_MESH = MeshDocument(file="", text="")


class Applier:
    """Holds the applied mesh; `adopt` takes each new one with its compiler.

    `nodes` says who is connected, `revoked` which certificates are: both go into what is compiled ahead. `prover`
    asks an Envoy about that before anybody else gets it.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        nodes: Callable[[], Sequence[InstanceSpec]],
        revoked: Callable[[], Revocations],
        adopt: Callable[[SourcedMesh, Compiler], None],
        prover: Prover | None = None,
    ) -> None:
        """Start without a mesh."""
        self._store, self._metrics, self._adopt = store, metrics, adopt
        self._nodes, self._revoked, self._prover = nodes, revoked, prover
        self.document = Latest(NO_MESH)
        self.violations: tuple[ViolationMessage, ...] = ()
        self.mesh: SourcedMesh | None = None
        self._compiler: Compiler | None = None
        self._applying = asyncio.Lock()
        self.collector = Collector()

    def restore(self) -> None:
        """Take the stored mesh; one that this version of ours rejects waits for the next apply."""
        document = self._store.mesh()
        if document is None:
            return
        try:
            mesh = load(document.text, document.file)
        except InvalidMesh as invalid:
            log.warning("stored mesh rejected, waiting for another", violations=[str(v) for v in invalid.violations])
            return
        self._take(mesh, document, Compiler(mesh, self._revoked()))

    async def apply(self, document: MeshDocument, trail: Trail, now: float = 0.0) -> tuple[ApplyResult, bool]:
        """Take a new mesh file whole, or reject it whole with all its violations; say whether it is another one.

        Each step is noted on `trail`. `now` is when it is applied, in seconds since the epoch.
        """
        async with self._applying:
            with self.collector.paused():
                return await self._apply(document, trail, now)

    async def _apply(self, document: MeshDocument, trail: Trail, now: float) -> tuple[ApplyResult, bool]:
        try:
            with trail.step("load"):
                mesh = await asyncio.to_thread(_load, document)
                self._check_same_mesh(mesh)
            changed = mesh.version != self.document.value.version
            if changed:
                await self._replace(mesh, msgspec.structs.replace(document, version=mesh.version, applied=now), trail)
        except InvalidMesh as invalid:
            return self._rejected(invalid), False
        self.violations = ()
        self._metrics.applies.labels("applied" if changed else "unchanged").inc()
        return ApplyResult(version=mesh.version, desired=summarize(mesh), changed=changed), changed

    async def _replace(self, mesh: SourcedMesh, applied: MeshDocument, trail: Trail) -> None:
        """Compile off the event loop what depends on the mesh alone: proxies and health are served meanwhile."""
        nodes = tuple(self._nodes())
        with trail.step("compile"):
            compiler = await asyncio.to_thread(self._compile, mesh, self._revoked(), nodes)
        if self._prover is not None:
            with trail.step("prove"):
                await self._prover.prove(self.mesh, mesh, compiler, nodes)
        with trail.step("store"):
            await asyncio.to_thread(self._store.save_mesh, applied)
        self._take(mesh, applied, compiler)
        log.info("mesh applied", version=mesh.version)

    def _compile(self, mesh: SourcedMesh, revoked: Revocations, nodes: Sequence[InstanceSpec]) -> Compiler:
        """Compile ahead for those whom the mesh concerns; all others have what they had. In a thread."""
        compiler = Compiler(mesh, revoked)
        if self.mesh is not None and self._compiler is not None:
            concerned = affected(self.mesh.mesh, mesh.mesh)
            compiler.inherit(self._compiler, frozenset(mesh.mesh.services) - concerned)
        compiler.prepare(nodes)
        return compiler

    def _take(self, mesh: SourcedMesh, document: MeshDocument, compiler: Compiler) -> None:
        self._adopt(mesh, compiler)
        self.mesh, self._compiler = mesh, compiler
        self.document.set(document)

    def _rejected(self, invalid: InvalidMesh) -> ApplyResult:
        self.violations = tuple(ViolationMessage.of(v) for v in invalid.violations)
        self._metrics.applies.labels("rejected").inc()
        log.warning("mesh rejected, the last good one stays", violations=[str(v) for v in invalid.violations])
        return ApplyResult(version=self.document.value.version, violations=self.violations)

    def _check_same_mesh(self, mesh: SourcedMesh) -> None:
        """Reject another mesh's file while proxies are connected: every identity in use would be a stranger's."""
        if self.mesh is None or not self._nodes():
            return
        for field in ("mesh", "trust_domain"):
            now, then = getattr(mesh.mesh, field), getattr(self.mesh.mesh, field)
            if now != then:
                message = f"{now!r} is not the running mesh's {then!r}; end it (legation down) to change this"
                raise InvalidMesh([Violation(mesh.position(field), field, message)])


def _load(document: MeshDocument) -> SourcedMesh:
    mesh = load(document.text, document.file)
    check_files(mesh)
    return mesh
