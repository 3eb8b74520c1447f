"""sidecar-memory: what an Envoy takes whose app calls five of a thousand services, and one that is sent all."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import sidecars, world
from bench.processes import memory
from bench.report import Figure
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.sidecar.modules import lines_module
from tests.xds_server.compile.authority import Authority
from tests.xds_server.compile.rendition import static_file
from xds_server import snapshot as kinds
from xds_server.compile import BootstrapInput, Compiler, bootstrap
from xds_server.endpoint import Endpoint

SERVICES, CALLS, ROUNDS = 1000, 5, 3


async def figure() -> Figure:
    """Return the figure."""
    with TemporaryDirectory() as folder:
        taken: dict[int, list[float]] = {CALLS: [], SERVICES: []}
        for number in range(ROUNDS):
            for calls, found in taken.items():
                (at := Path(folder) / f"{number}-{calls}").mkdir()
                found.append(await _taken(at, calls))
    ours, peer = taken.values()
    each = (median(peer) - median(ours)) * 1024 / (SERVICES - CALLS)
    note = (
        f"an Envoy of {SERVICES} services of {world.ENDPOINTS} instances, {CALLS} called; peer: all; {each:.0f} kB each"
    )
    return Figure("dataplane", "sidecar-memory", "MB", ours, peer, None, note)


async def _taken(folder: Path, calls: int) -> float:
    """Return the memory of the Envoy of a service that calls so many of them."""
    called = ", ".join(world.service(n) for n in range(calls))
    lines = "".join(f"  {world.service(n)}: {{protocol: http, port: 8080}}\n" for n in range(SERVICES))
    text = f"mesh: bench\ntrust_domain: {world.TRUST_DOMAIN}\nservices:\n"
    mesh = load(f"{text}  web: {{protocol: http, port: 8080, calls: [{called}]}}\n{lines}", "mesh.yaml")
    node = InstanceSpec(
        "web", "web", "v1", "1", sidecars.address(0), names.INBOUND_PORT,
        app_address=sidecars.address(0), app_port=sidecars.APP_PORT, metrics_port=names.METRICS_PORT,
        log="stdout", in_environment=True, lines_module=lines_module(),
    )  # fmt: skip
    given = BootstrapInput(node, world.TRUST_DOMAIN, "127.0.0.1", 1, "/nowhere", str(folder / "web.sock"))
    secrets = Authority("bench").issue(names.spiffe_id(world.TRUST_DOMAIN, "web"), folder / "secrets")
    snapshot = Compiler(mesh).snapshot(node, _endpoints())
    if len(snapshot.of_type(kinds.LISTENER)) != calls + 2:  # in front of its app, and for what mesh.yaml does not name
        raise AssertionError("it must be sent what it calls")
    async with sidecars.envoy(folder, "web", static_file(bootstrap(given), snapshot, secrets)) as pid:
        return memory(pid).rss


def _endpoints() -> dict[str, tuple[Endpoint, ...]]:
    found: dict[str, tuple[Endpoint, ...]] = defaultdict(tuple)
    for n in world.instances(SERVICES):
        found[n.service] += (Endpoint(n.id, n.version, n.address, n.port),)
    return found
