"""Where the mesh comes from: xds_server, and while that is away, the copy of the last one."""

from collections.abc import Callable

import structlog

from certmgr.store import Store
from legation.mesh.control import MeshDocument
from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime.control import ControlClient, ControlError
from legation.runtime.tasks import backoff

log = structlog.get_logger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 0.1, 2.0


def remembered(store: Store) -> Mesh | None:
    """Return the last mesh; None when there was none, or it is one of an older certmgr that means nothing now."""
    text = store.mesh()
    try:
        return None if text is None else load(text, "mesh.yaml").mesh
    except InvalidMesh as error:
        log.warning("remembered mesh discarded", reason=str(error))
        return None


async def follow(client: ControlClient, store: Store, take: Callable[[Mesh], None]) -> None:
    """Call `take` with the mesh now and after each change, for ever; xds_server may come and go."""
    async for _ in backoff(_FIRST_RETRY, _LONGEST_RETRY):
        try:
            async for document in client.watch("/mesh/watch", MeshDocument):
                _take(document, store, take)
        except ControlError as error:
            log.debug("xds_server is away", reason=str(error))


def _take(document: MeshDocument, store: Store, take: Callable[[Mesh], None]) -> None:
    """Remember a mesh and hand it on; one that we cannot read (a newer xds_server's) changes nothing."""
    try:
        mesh = load(document.text, document.file).mesh
    except InvalidMesh as error:
        log.warning("mesh not taken", reason=str(error))
        return
    store.save_mesh(document.text)
    take(mesh)
