"""xds_server under an apply: `python -m bench.apply_server SERVICES` prints `serving ADDRESS`.

Each line `apply N` on stdin applies a mesh in which every service has another port, `route N` one in which a service
has another route; by `PUT /mesh`, as `legation up` does. It is answered `applied GAP WORK SECONDS PROOF` when the last
stream has ACKed that: what `Gaps` has seen, how long all of it took, and how long of that an Envoy tried the mesh.
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
from legation.runtime.control import server as wire
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import ApplyResult, MeshDocument
from xds_server.control import Control
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.prove.prover import Prover
from xds_server.registry.store import SqliteStore
from xds_server.serve.server import serve

CALLS = 10
_LIMIT = 120.0
_FIRST_PORT = 9000


async def main(services: int) -> None:
    """Serve until stdin ends."""
    with TemporaryDirectory() as state:
        metrics = Metrics(CollectorRegistry())
        plane = ControlPlane(SqliteStore(Path(state) / "registry"), WallClock(), metrics, Prover(metrics))
        await plane.apply(_document(services, _FIRST_PORT))
        for key, node in enumerate(world.instances(services, 1), start=1):
            plane.registry.connected(node, names.spiffe_id(world.TRUST_DOMAIN, node.service), -key)
            plane.registry.transition(node.id, node.boot, "ready")
        await plane.changed(frozenset())
        admission, gaps = Plaintext(plane), Gaps()
        control = Path(state) / "control.sock"
        async with (
            wire.serve([wire.bind_unix(control)], Control(plane).routes()),
            serve(admission, address="127.0.0.1:0", health=admission) as server,
        ):
            print(f"serving {server.address}", flush=True)
            watch = asyncio.ensure_future(gaps.watch())
            while line := await asyncio.to_thread(sys.stdin.readline):
                what, number = line.split()
                routed = what == "route"
                document = _routed(services, int(number)) if routed else _document(services, _FIRST_PORT + int(number))
                proved = _proof(metrics)
                took = await _apply(plane, control, document, gaps)
                print("applied", *gaps.take(), took, _proof(metrics) - proved, flush=True)
            watch.cancel()


def _proof(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("xds_proof_seconds_sum") or 0.0


async def _apply(plane: ControlPlane, control: Path, document: MeshDocument, gaps: Gaps) -> float:
    gaps.take()
    begun = perf_counter()
    result = await ControlClient(control).send("PUT", "/mesh", document, ApplyResult, _LIMIT)
    if not result.changed:
        raise AssertionError(f"the mesh was not taken: {result.violations}")
    plane.publish_instances()
    if unsynced := await plane.converged(frozenset(result.desired.services if result.desired else ()), _LIMIT):
        raise TimeoutError(f"{len(unsynced)} streams have not ACKed within {_LIMIT:.0f} s, as {unsynced[0]}")
    return perf_counter() - begun


def _document(services: int, port: int) -> MeshDocument:
    return MeshDocument(file="mesh.yaml", text=world.ring(services, CALLS, port))


def _routed(services: int, number: int) -> MeshDocument:
    """Return the first mesh, but that its first service has a route, each number another."""
    text = world.ring(services, CALLS, _FIRST_PORT)
    first = f"{world.service(0)}: {{"
    return MeshDocument(file="mesh.yaml", text=text.replace(first, f"{first}routes: [{{timeout: {number}s}}], ", 1))


if __name__ == "__main__":
    log.set_up("xds_server")
    asyncio.run(main(int(sys.argv[1])))
