"""Has a stock Envoy look at a changed mesh: off the event loop, in bounded time, each content once."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from legation.mesh.errors import InvalidMesh, Position, Violation
from legation.mesh.instance import InstanceSpec
from legation.mesh.source import SourcedMesh
from legation.runtime import binaries
from xds_server.compile import Compiler
from xds_server.metrics import Metrics
from xds_server.prove.changed import Changed, Content, changed, content
from xds_server.prove.envoy import NoVerdict, validate
from xds_server.prove.rendition import rendition
from xds_server.prove.search import Fault, Search
from xds_server.snapshot import Resource

log = structlog.get_logger()

TOGETHER = 500
"""Resources of one run: about half a second of Envoy's time, on a host that has time."""
LIMIT = 15.0
"""Seconds in which all runs for one change have to be over."""
KEPT = 50_000
"""Contents that are remembered as good."""


class Prover:
    """Asks the Envoy of this host about each new mesh, and remembers what it has accepted."""

    def __init__(self, metrics: Metrics, limit: float = LIMIT, envoy: Path | None = None) -> None:
        """Know nothing to be good yet; `limit` is the seconds that one mesh may take; without `envoy` ours looks."""
        self._metrics, self._limit = metrics, limit
        self._good: dict[Content, None] = {}
        self._envoy = envoy
        self._told = False

    async def prove(
        self, before: SourcedMesh | None, after: SourcedMesh, compiler: Compiler, nodes: Sequence[InstanceSpec]
    ) -> None:
        """Return when Envoy accepts what a mesh changes, or cannot say; InvalidMesh when it rejects some of it."""
        old = None if before is None else before.mesh
        if not await asyncio.to_thread(self._find):
            self._metrics.proofs.labels("skipped").inc()
            return
        found = await asyncio.to_thread(changed, old, after.mesh, compiler, nodes, self._good)
        faults = await self._search(found)
        if faults:
            self._metrics.proofs.labels("rejected").inc()
            raise InvalidMesh({_violation(fault, after) for fault in faults})

    def _find(self) -> bool:
        """Say whether there is an Envoy on this host."""
        try:
            self._envoy = self._envoy or binaries.envoy()
        except binaries.MissingComponent:
            if not self._told:
                log.warning("no Envoy on this host to try meshes with: they reach proxies as compiled")
            self._told = True
        return self._envoy is not None

    async def _search(self, found: Changed) -> tuple[Fault, ...]:
        """Ask Envoy until all faults are known, or the time is over."""
        search = Search(found.resources, TOGETHER)
        outcome = "accepted"
        try:
            with self._metrics.proof.time(), TemporaryDirectory(prefix="legation-prove-") as folder:
                async with asyncio.timeout(self._limit):
                    while (asked := search.asked) is not None:
                        search.answer(await self._ask(asked, found.clusters, Path(folder)))
        except (TimeoutError, NoVerdict) as why:
            reason = str(why) or f"it takes more than {self._limit:.0f} s"
            log.warning("a changed mesh could not be tried to its end", reason=reason)
            outcome = "skipped"
        if not search.faults:
            self._metrics.proofs.labels(outcome).inc()
        return search.faults

    async def _ask(self, asked: Sequence[Resource], clusters: frozenset[str], folder: Path) -> str | None:
        if self._envoy is None:
            raise AssertionError("there is no Envoy to ask")
        config = await asyncio.to_thread(rendition, asked, clusters)
        words = await validate(self._envoy, config, folder)
        if words is None:
            self._keep(asked)
        return words

    def _keep(self, good: Sequence[Resource]) -> None:
        self._good.update(dict.fromkeys(map(content, good)))
        for oldest in list(self._good)[: max(0, len(self._good) - KEPT)]:
            del self._good[oldest]


def _violation(fault: Fault, mesh: SourcedMesh) -> Violation:
    """Return where in mesh.yaml a fault comes from, and Envoy's words."""
    first = fault.resources[0]
    here = first.source if isinstance(first.source, Position) else Position(mesh.file, 1, 1)
    if len(fault.resources) > 1:
        return Violation(Position(mesh.file, 1, 1), "", f"Envoy rejects what this comes to: {fault.words}")
    kind = first.type_url.rpartition(".")[2]
    return Violation(here, "", f"Envoy rejects the {kind} {first.name!r} that this comes to: {fault.words}")
