"""xds_server under an apply: `python -m bench.apply_server SERVICES` prints `serving ADDRESS`.

Each line `apply N` on stdin applies a mesh in which every service has another port, and is answered
`applied GAP WORK SECONDS` when the last stream has ACKed it: what `Gaps` has seen, and how long all of it took.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from prometheus_client import CollectorRegistry

from bench import world
from bench.gap import Gaps
from bench.server import Plaintext
from legation.mesh import names
from legation.runtime import log
from legation.runtime.clock import WallClock
from legation.runtime.control.messages import MeshDocument
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.registry.store import SqliteStore
from xds_server.serve.server import serve

CALLS = 10
_LIMIT = 120.0
_FIRST_PORT = 9000


async def main(services: int) -> None:
    """Serve until stdin ends."""
    with TemporaryDirectory() as state:
        plane = ControlPlane(SqliteStore(Path(state) / "registry"), WallClock(), Metrics(CollectorRegistry()))
        await plane.apply(_document(services, _FIRST_PORT))
        for key, node in enumerate(world.instances(services, 1), start=1):
            plane.registry.connected(node, names.spiffe_id(world.TRUST_DOMAIN, node.service), -key)
            plane.registry.transition(node.id, node.boot, "ready")
        await plane.changed(frozenset())
        admission, gaps = Plaintext(plane), Gaps()
        async with serve(admission, address="127.0.0.1:0", health=admission) as server:
            print(f"serving {server.address}", flush=True)
            watch = asyncio.ensure_future(gaps.watch())
            while line := await asyncio.to_thread(sys.stdin.readline):
                took = await _apply(plane, _document(services, _FIRST_PORT + int(line.split()[1])), gaps)
                print("applied", *gaps.take(), took, flush=True)
            watch.cancel()


async def _apply(plane: ControlPlane, document: MeshDocument, gaps: Gaps) -> float:
    gaps.take()
    begun = perf_counter()
    result = await plane.apply(document)
    if not result.changed:
        raise AssertionError(f"the mesh was not taken: {result.violations}")
    plane.publish_instances()
    if unsynced := await plane.converged(frozenset(result.desired.services if result.desired else ()), _LIMIT):
        raise TimeoutError(f"{len(unsynced)} streams have not ACKed within {_LIMIT:.0f} s, as {unsynced[0]}")
    return perf_counter() - begun


def _document(services: int, port: int) -> MeshDocument:
    return MeshDocument(file="mesh.yaml", text=world.ring(services, CALLS, port))


if __name__ == "__main__":
    log.set_up("xds_server")
    asyncio.run(main(int(sys.argv[1])))
