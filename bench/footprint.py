"""footprint: what a mesh on one host costs while nothing happens, and how soon it is up.

All of it is seen on meshes that run: the shop (examples/shop), and a chain of services with 30 instances.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from bench import host
from bench.handover import Envoy
from bench.processes import cpu, memory
from bench.program import Broken
from bench.report import Figure, Goal
from legation.runtime import http, locks
from legation.runtime.state import StateFolder
from legation.runtime.tasks import pause

SETTLE = 20.0
"""Seconds after the first request in which what the start has left to do is done."""
SERVICES, REPLICAS = 10, 3


async def figures(seconds: float, rounds: int) -> AsyncIterator[Figure]:
    """Yield the figures; rest is measured for so many seconds, `up-warm` so many times."""
    with TemporaryDirectory() as folder:
        async for figure in _shop(Path(folder), seconds, rounds):
            yield figure
    with TemporaryDirectory() as folder:
        yield await _all_together(Path(folder))


async def _shop(folder: Path, seconds: float, rounds: int) -> AsyncIterator[Figure]:
    """Start the shop again and again, each time beside an Envoy alone; measure it at rest the last time."""
    state = StateFolder(folder / "state")
    ours, peer = list[float](), list[float]()
    async with host.up(host.SHOP, state) as cold:
        pass
    for number in range(rounds):
        peer.append(await _envoy_start(folder, f"envoy-{number}"))
        async with host.up(host.SHOP, state) as took:
            ours.append(took)
            if number == rounds - 1:
                for figure in await _at_rest(state, seconds):
                    yield figure
    note = f"the shop, 8 instances; from an empty state folder {cold:.1f} s; peer: an Envoy alone, to its first answer"
    yield Figure("footprint", "up-warm", "s", ours, peer, None, note)


async def _envoy_start(folder: Path, name: str) -> float:
    """Return the seconds from the start of an Envoy alone to its answer."""
    port, held = locks.app_port()
    envoy = Envoy(folder, name, port, shared=False)
    begun = perf_counter()
    try:
        await envoy.start()
        if (await http.request(("127.0.0.1", port), "GET", "/", limit=10)).status != 200:
            raise Broken("an Envoy alone does not answer 200")
        return perf_counter() - begun
    finally:
        await envoy.kill()
        held.close()


async def _at_rest(state: StateFolder, seconds: float) -> Sequence[Figure]:
    """Return what each `legation run` and `legation up` take while nothing happens; a sample is a process."""
    await pause(SETTLE)
    mesh, own = await host.status(state), host.pid(state)
    pids = [i.pids for i in host.instances(mesh) if i.pids.app]
    runs, envoys = [p.run for p in pids if p.run], [p.envoy for p in pids if p.envoy]
    took = await cpu([own, *runs, *envoys], seconds)
    peer = f"peer: their Envoys; {seconds:.0f} s without a request"
    return (
        _figure("rss-run", "MB", _rss(runs), _rss(envoys), 30, f"peer: their Envoys; {_pss(runs, envoys)}"),
        _figure("idle-cpu-run", "%", [took[p] for p in runs], [took[p] for p in envoys], 0.1, peer),
        _figure("rss-up", "MB", _rss([own]), [], 45, f"of {len(host.instances(mesh))} instances; {_pss([own], [])}"),
        _figure("idle-cpu-up", "%", [took[own]], [], 0.5, f"{seconds:.0f} s without a request"),
    )


async def _all_together(folder: Path) -> Figure:
    """Return what all of our processes take beside many instances, against all of their Envoys."""
    state = StateFolder(folder / "state")
    async with host.up(host.chain(folder, SERVICES, REPLICAS), state):
        await pause(SETTLE)
        mesh = await host.status(state)
        services = [c.pid for c in (mesh.xds_server, mesh.certmgr, mesh.telemetry) if c.pid]
        found = [i.pids for s in mesh.services for i in s.instances]
        runs, envoys = [p.run for p in found if p.run], [p.envoy for p in found if p.envoy]
        if not len(runs) == len(envoys) == SERVICES * REPLICAS or len(services) != 3:
            raise Broken(f"{len(runs)} of {SERVICES * REPLICAS} instances run")
        ours = [host.pid(state), *services, *runs]
        apart = ", ".join(f"{name} {memory(pid).rss:.0f}" for name, pid in zip(_NAMES, ours, strict=False))
        note = f"{apart}, each run {median(_rss(runs)):.0f}; peer: {len(envoys)} Envoys; {_pss(ours, envoys)}"
        return Figure("footprint", "rss-30-instances", "MB", [sum(_rss(ours))], [sum(_rss(envoys))], None, note)


_NAMES = ("up", "xds_server", "certmgr", "telemetry")


def _figure(case: str, unit: str, ours: Sequence[float], peer: Sequence[float], most: float, note: str) -> Figure:
    goal = Goal(most, f"<= {most} {unit}", absolute=True)
    return Figure("footprint", case, unit, ours, peer, goal, note)


def _rss(pids: Iterable[int]) -> list[float]:
    return [memory(pid).rss for pid in pids]


def _pss(ours: Iterable[int], peer: Iterable[int]) -> str:
    """Say what the memory is with shared pages divided by their users: a fairer sum, a figure less known."""
    sums = [sum(memory(pid).pss for pid in pids) for pids in (ours, peer)]
    return f"as PSS all together {sums[0]:.0f} MB" + (f" against {sums[1]:.0f} MB" if sums[1] else "")
