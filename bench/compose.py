"""compose: what the mesh costs in docker compose: how soon it is up, what it weighs, and what it takes of requests.

The shop of compose/, from the images that `make images` has built; the peer is the same file without the mesh.
"""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.h2load import Load
from bench.processes import memory
from bench.program import Broken
from bench.report import Figure, Goal
from legation.runtime import binaries
from legation.runtime.tasks import pause

FOLDER = Path(__file__).parents[1] / "compose"
SETTLE = 20.0
"""Seconds after which the containers are looked at, as in footprint."""
COLD_GOAL, RUN_GOAL, IMAGE_GOAL = 120, 30, 60
MEGABYTE = 1_000_000
IMAGES = {
    "sidecar": os.environ.get("LEGATION_SIDECAR_IMAGE", "legation-sidecar"),
    "control": os.environ.get("LEGATION_IMAGE", "legation"),
    "openbao": os.environ.get("LEGATION_VAULT_IMAGE", "legation-openbao"),
}
"""As compose's own files take them."""
SERVICES = ("xds-server", "certmgr", "vault")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """One docker compose project; `files` are read in their order."""

    name: str
    files: Sequence[str]
    port: int = field(default_factory=_free_port)

    @property
    def page(self) -> Load:
        """The whole page, which four services make."""
        return Load(f"http://127.0.0.1:{self.port}/", "http1", {})

    async def compose(self, *words: str) -> str:
        """Run docker compose; Broken where it fails."""
        files = [word for file in self.files for word in ("-f", file)]
        return await _docker("compose", "-p", self.name, *files, *words, SHOP_PORT=str(self.port))

    async def up(self) -> float:
        """Return the seconds until it says that all is up."""
        begun = perf_counter()
        await self.compose("up", "-d", "--wait", "--no-build")
        return perf_counter() - begun

    async def pids(self) -> Mapping[str, int]:
        """Return the first process of each container that runs, by service."""
        ids = (await self.compose("ps", "-q")).split()
        said = json.loads(await _docker("inspect", *ids))
        return {c["Config"]["Labels"]["com.docker.compose.service"]: int(c["State"]["Pid"]) for c in said}


async def figures(seconds: float, rounds: int) -> AsyncIterator[Figure]:
    """Yield the figures; loads take so many seconds, and all but the weights are measured so many times."""
    for figure in await _images():
        yield figure
    ours = Stack("legation-bench", ("docker-compose.yaml", "docker-compose.override.yaml"))
    peer = Stack("legation-bench-plain", ("docker-compose.yaml",))
    yield await _cold(ours, peer, rounds)
    async with AsyncExitStack() as held:
        for stack in (ours, peer):
            await held.enter_async_context(_running(stack))
        await pause(SETTLE)
        for figure in _weights(await ours.pids()):
            yield figure
        for figure in await _loads(ours, peer, int(seconds), rounds):
            yield figure


async def _cold(ours: Stack, peer: Stack, rounds: int) -> Figure:
    took: dict[str, list[float]] = {ours.name: [], peer.name: []}
    for _ in range(rounds):
        for stack in (ours, peer):
            async with _running(stack) as seconds:
                took[stack.name].append(seconds)
    goal = Goal(COLD_GOAL, f"<= {COLD_GOAL} s", absolute=True)
    note = "docker compose up --wait, from no container and no volume; images are there"
    return Figure("compose", "cold", "s", took[ours.name], took[peer.name], goal, note)


async def _images() -> Sequence[Figure]:
    envoy = binaries.envoy().stat().st_size / MEGABYTE
    goals = {"sidecar": Goal(envoy + IMAGE_GOAL, f"<= Envoy + {IMAGE_GOAL} MB", absolute=True)}
    peers = {"sidecar": [envoy]}
    return [
        Figure("compose", f"image-{name}", "MB", [await _size(image)], peers.get(name, []), goals.get(name), note)
        for name, image in IMAGES.items()
        for note in ["all layers; peer: Envoy's program" if name in peers else "all layers"]
    ]


async def _size(image: str) -> float:
    return int(await _docker("image", "inspect", "-f", "{{.Size}}", image)) / MEGABYTE


def _weights(pids: Mapping[str, int]) -> Sequence[Figure]:
    """Return what each process of ours weighs, a sidecar's beside its Envoy."""
    runs = {name: pid for name, pid in pids.items() if name.endswith("-sidecar") or name == "legation-gateway"}
    envoys = [_rss(_child(pid)) for pid in runs.values()]
    goal = Goal(RUN_GOAL, f"<= {RUN_GOAL} MB", absolute=True)
    apart = ", ".join(f"{name} {_rss(pid):.0f}" for name, pid in sorted(runs.items()))
    found = [
        Figure("compose", "rss-run", "MB", [_rss(p) for p in runs.values()], envoys, goal, f"{apart}; peer: Envoys")
    ]
    found += [
        Figure("compose", f"rss-{name}", "MB", [_rss(pids[f"legation-{name}"])], [], None, "") for name in SERVICES
    ]
    return found


async def _loads(ours: Stack, peer: Stack, seconds: int, rounds: int) -> Sequence[Figure]:
    """Return how many pages a second go, and how long one takes at half of ours."""
    most: dict[str, list[float]] = {ours.name: [], peer.name: []}
    late: dict[str, list[float]] = {ours.name: [], peer.name: []}
    for _ in range(rounds):
        for stack in (peer, ours):
            most[stack.name].append(await stack.page.most(seconds))
    rate = min(most[ours.name]) / 2
    with TemporaryDirectory() as folder:
        for _ in range(rounds):
            for stack in (peer, ours):
                late[stack.name].append(await stack.page.p99(seconds, rate, Path(folder) / "times"))
    note = "the whole page through four services; peer: without the mesh"
    return (
        Figure("compose", "rps", "1/s", most[ours.name], most[peer.name], None, note),
        Figure("compose", "p99", "ms", late[ours.name], late[peer.name], None, f"{note}; {rate:.0f}/s each"),
    )


@asynccontextmanager
async def _running(stack: Stack) -> AsyncIterator[float]:
    """Bring a stack up from nothing, and give the seconds that took; nothing is left of it."""
    await stack.compose("down", "-v", "--remove-orphans")
    try:
        yield await stack.up()
    finally:
        await stack.compose("down", "-v", "--remove-orphans")


async def _docker(*words: str, **environment: str) -> str:
    program = shutil.which("docker")
    if program is None:
        raise Broken("not run: docker is missing: .ci/docker installs and starts it (Debian, as root)")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, *words, cwd=FOLDER, env={**os.environ, **environment}, stdout=pipe, stderr=pipe
    )
    said, why = await process.communicate()
    if process.returncode != 0:
        raise Broken(f"docker {' '.join(words)}: {why.decode()[-500:]}")
    return said.decode()


def _child(pid: int) -> int:
    """Return the only child of a process: a sidecar's Envoy."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(children) != 1:
        raise Broken(f"process {pid} has {len(children)} children, and not one Envoy")
    return int(children[0])


def _rss(pid: int) -> float:
    return memory(pid).rss
