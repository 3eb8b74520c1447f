"""Our side of fanout: xds_server's own registry, compile, ACK tracking and serving, over streams that are not Envoys.

`python -m bench.server SERVICES [TLS]` prints `serving ADDRESS`; each line `change K` on stdin changes one endpoint of
service K and is answered `acked` when the last stream has ACKed that. TLS is a folder of `tls.py`.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from bench import tls, world
from legation.mesh import names
from legation.runtime import garbage, log
from legation.runtime.clock import WallClock
from legation.runtime.control.messages import MeshDocument
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from xds_server.admission import Admission
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.registry.store import SqliteStore
from xds_server.serve.info import StreamInfo
from xds_server.serve.server import serve
from xds_server.serve.stream import Admitted

LIMIT = 60.0
"""Seconds in which every stream has to ACK."""


class Plaintext(Admission):
    """Takes a node's word for its identity, as there is no TLS that proves one."""

    async def admit(self, info: StreamInfo) -> Admitted:
        """Admit as over mTLS."""
        claimed = names.spiffe_id(world.TRUST_DOMAIN, str(info.metadata.get("service")))
        return await super().admit(replace(info, peer=claimed))


async def main(services: int, folder: Path | None) -> None:
    """Serve until stdin ends."""
    with TemporaryDirectory() as state:
        plane = ControlPlane(SqliteStore(Path(state) / "registry"), WallClock(), Metrics(CollectorRegistry()))
        await plane.apply(MeshDocument(file="mesh.yaml", text=world.star(services)))
        await _populate(plane, services)
        admission = Plaintext(plane) if folder is None else Admission(plane)
        identity: Latest[Identity | None] | None = None if folder is None else Latest(tls.identity(folder))
        async with serve(admission, address="127.0.0.1:0", identity=identity, health=admission) as server:
            print(f"serving {server.address}", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                await _change(plane, int(line.split()[1]))
                print("acked", flush=True)


async def _populate(plane: ControlPlane, services: int) -> None:
    """Register the instances that are called; their own streams would only be more of the same."""
    for key, node in enumerate(world.instances(services), start=1):
        plane.registry.connected(node, names.spiffe_id(world.TRUST_DOMAIN, node.service), -key)
        plane.registry.transition(node.id, node.boot, "ready")
    await plane.changed(frozenset())


async def _change(plane: ControlPlane, index: int) -> None:
    """Turn the health of a service's first instance, as its sidecar's health report does."""
    instance = names.instance_id(world.service(index), world.VERSION, 0)
    healthy = plane.registry.entries[instance].healthy is False
    services = plane.registry.health(instance, healthy)
    if not services:
        raise AssertionError(f"the health of {instance} changed nothing")
    await plane.changed(services)
    if unsynced := await plane.converged(services, LIMIT):
        raise TimeoutError(f"{len(unsynced)} streams have not ACKed within {LIMIT:.0f} s, as {unsynced[0]}")


if __name__ == "__main__":
    garbage.in_large_portions()
    log.set_up("xds_server")
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
