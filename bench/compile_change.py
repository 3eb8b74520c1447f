"""compile-1000: what a change of one endpoint costs in compile, in a large mesh against a small one."""

from collections.abc import Iterator
from time import perf_counter

from bench import world
from bench.report import Figure, Goal
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from xds_server.compile import Compiler
from xds_server.endpoint import Endpoint
from xds_server.snapshot import ENDPOINT

LARGE, SMALL = 1_000, 100
CALLS = 10
"""How many services each service calls, and is called by: so many nodes are compiled for one change."""
ROUNDS = 200


class _Mesh:
    """A compiled ring, one proxy a service, that has its endpoints change one at a time."""

    def __init__(self, services: int) -> None:
        """Compile it once for all its nodes, as a control plane that has been up for a while has."""
        self._compiler = Compiler(load(world.ring(services, CALLS), "mesh.yaml"))
        self._nodes: dict[str, InstanceSpec] = {}
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        for node in world.instances(services):
            self._nodes.setdefault(node.service, node)
            endpoint = Endpoint(node.id, node.version, node.address, node.port)
            self._endpoints[node.service] = (*self._endpoints.get(node.service, ()), endpoint)
        for node in self._nodes.values():
            self._compiler.snapshot(node, self._endpoints)

    def change(self, index: int) -> float:
        """Take the last endpoint of a service away; return how long its callers' snapshots took, in microseconds."""
        changed = world.service(index % len(self._nodes))
        self._endpoints[changed] = self._endpoints[changed][:-1]
        began = perf_counter()
        made = [self._compiler.snapshot(self._nodes[n], self._endpoints) for n in self._compiler.interested(changed)]
        took = perf_counter() - began
        _check(changed, [snapshot.of_type(ENDPOINT)[changed].body for snapshot in made], self._endpoints[changed])
        return took * 1e6


def _check(changed: str, bodies: list[bytes], endpoints: tuple[Endpoint, ...]) -> None:
    """Refuse a figure of work that was not done."""
    named = f"{changed}-{world.VERSION}-".encode()
    if len(bodies) != CALLS or any(body.count(named) != len(endpoints) for body in bodies):
        raise AssertionError(f"the callers of {changed} were not compiled with its {len(endpoints)} endpoints")


def figures() -> Iterator[Figure]:
    """Yield the one figure; both meshes change in turns."""
    large, small = _Mesh(LARGE), _Mesh(SMALL)
    ours, peer = [], []
    for index in range(ROUNDS):
        ours.append(large.change(index))
        peer.append(small.change(index))
    yield Figure(
        bench="fanout",
        case="compile-1000",
        unit="us",
        ours=ours,
        peer=peer,
        goal=Goal(1.5, "<= 1.5 x peer"),
        note=f"ours: {LARGE} services, peer: ours too, {SMALL} services; compile for the {CALLS} callers alone",
    )
