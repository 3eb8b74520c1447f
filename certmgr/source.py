"""Where the mesh comes from: xds_server, and while that is away, the copy of the last one."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from certmgr.store import Store
from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime import tasks
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import MeshDocument

log = structlog.get_logger(__name__)


def remembered(store: Store) -> Mesh | None:
    """Return the last mesh; None when there was none, or it is one of an older certmgr that means nothing now."""
    text = store.mesh()
    try:
        return None if text is None else load(text, "mesh.yaml").mesh
    except InvalidMesh as error:
        log.warning("remembered mesh discarded", reason=str(error))
        return None


async def follow(client: ControlClient, store: Store, take: Callable[[Mesh, Path], None]) -> None:
    """Call `take` with the mesh, and its file's folder, now and after each change, for ever.

    xds_server may come and go.
    """

    def lost(error: Exception, attempt: int) -> None:
        log.debug("xds_server is away", reason=str(error), attempt=attempt)

    watch = partial(client.watch, "/mesh/watch", MeshDocument)
    async for document in tasks.follow(watch, lost, transient=(ControlError,)):
        await _take(document, store, take)


async def _take(document: MeshDocument, store: Store, take: Callable[[Mesh, Path], None]) -> None:
    """Remember a mesh and hand it on; one that we cannot read (a newer xds_server's) changes nothing."""
    try:
        # Off the loop: a mesh of 1,000 services takes a second, and proxies get their secrets meanwhile.
        mesh = (await asyncio.to_thread(load, document.text, document.file)).mesh
    except InvalidMesh as error:
        log.warning("mesh not taken", reason=str(error))
        return
    folder = Path(document.file).parent
    store.save_mesh(document.text, folder)
    take(mesh, folder)
