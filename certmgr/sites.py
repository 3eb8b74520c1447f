"""The certificates that the gateway shows to its clients. Those in the operator's files are read when they change.

Files that cannot be used change nothing: what was read before stays on show, on disk too, and it is said.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from certmgr.core.bundle import Damaged
from certmgr.core.edge import edge_plan
from certmgr.edge import IssuedSites
from certmgr.metrics import Metrics
from certmgr.store import Store
from legation.mesh.edge_files import Files, KeyPair, Unusable, edge_services, key_pair
from legation.mesh.model.mesh import Mesh
from legation.runtime.edge_files import reader
from legation.runtime.tasks import pause

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""

Show = Callable[[Mapping[str, KeyPair], str | None], None]
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _Site:
    tls: Files
    folder: Path
    stamp: Stamp | None = None
    pair: KeyPair | None = None
    problem: str | None = None

    def look(self) -> Stamp:
        """Return what tells one state of the files from another."""
        return tuple(_stamp(self.folder / name) for name in (self.tls.cert, self.tls.key))


class Sites:
    """The certificates of the services that the gateway offers over TLS."""

    def __init__(self, store: Store, metrics: Metrics, show: Show, issued: IssuedSites | None = None) -> None:
        """Hand what is to be shown to `show`, by service, with what is wrong with the rest."""
        self._store, self._metrics, self._show, self._issued = store, metrics, show, issued
        self._sites: dict[str, _Site] = {}

    def want(self, mesh: Mesh, folder: Path) -> None:
        """Show the certificates of a mesh whose file is in a folder."""
        if self._issued is not None:
            self._issued.want(edge_plan(mesh))
        desired = {name: tls for name, _, tls in edge_services(mesh)}
        for name in set(self._sites) - set(desired):
            del self._sites[name]
            self._store.forget_site(name)
            self._metrics.forget_site(name)
        for name, tls in desired.items():
            known = self._sites.get(name)
            if known is None or (known.tls, known.folder) != (tls, folder):
                self._sites[name] = _Site(tls, folder, pair=known.pair if known else None)
        self._read_changed()
        self.tell()

    async def run(self) -> None:
        """Read what has changed, for ever."""
        while True:
            await pause(LOOK_EVERY)
            if await asyncio.to_thread(self._read_changed):
                self.tell()

    def _read_changed(self) -> bool:
        """Read the files of each site that are not as they were; say whether there were any."""
        changed = {name: stamp for name, site in list(self._sites.items()) if (stamp := site.look()) != site.stamp}
        for name, stamp in changed.items():
            self._read(name, self._sites[name])
            self._sites[name].stamp = stamp
        return bool(changed)

    def _read(self, name: str, site: _Site) -> None:
        try:
            site.pair, site.problem = key_pair(site.tls, reader(site.folder)), None
        except Unusable as error:
            site.problem = f"certificate of {name} for the gateway: {error}"
            site.pair = site.pair or self._stored(name)
            log.warning("certificate not read, the last one stays", service=name, reason=str(error))
            return
        self._store.save_site(name, site.pair)
        log.info("certificate read", service=name, not_after=site.pair.not_after)

    def _stored(self, name: str) -> KeyPair | None:
        try:
            return self._store.site(name)
        except Damaged as error:
            log.warning("stored certificate discarded", service=name, reason=str(error))
            return None

    def tell(self) -> None:
        """Show what there is, of the files and of what was issued."""
        pairs = {name: site.pair for name, site in self._sites.items() if site.pair is not None}
        problems = {name: site.problem for name, site in self._sites.items()}
        if self._issued is not None:
            pairs |= self._issued.pairs()
            problems |= self._issued.problems()
        for name, problem in problems.items():
            self._metrics.site_broken.labels(name).set(problem is not None)
        for name, pair in pairs.items():
            self._metrics.site_expiry.labels(name).set(pair.not_after)
        self._show(pairs, "; ".join(problem for problem in problems.values() if problem is not None) or None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
