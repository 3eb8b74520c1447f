"""instructions: what a request costs both Envoys of a pair, counted by callgrind: ours beside the minimal pair.

A count is the same to a percent whatever else the machine does, where a clock swings by a tenth; what the kernel does
for a request, much the same for both, is not in it. The peer runs by the side, in the same minute.
"""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import sidecars, traffic_mesh
from bench.dataplane import Side, answers, load_of
from bench.h2load import INSTALL
from bench.program import Broken
from bench.report import Figure
from bench.sidecars import Pair
from tests.xds_server.compile.tokens import Issuer

ROUNDS, REQUESTS, WARM = 3, 1_000, 800
_MISSING = "not run: valgrind is missing: apt-get install valgrind"
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


async def figures(only: str) -> AsyncIterator[Figure]:
    """Yield a figure a group and protocol, in thousands; `only` is a pattern of `<group>-<protocol>`."""
    missing = next(
        (say for program, say in (("h2load", INSTALL), ("valgrind", _MISSING)) if not shutil.which(program)), ""
    )
    for group, protocol in ((g, p) for g in traffic_mesh.GROUPS for p in traffic_mesh.PROTOCOLS):
        if not fnmatch(case := f"{group}-{protocol}", only or "*"):
            continue
        if missing:
            yield Figure("instructions", case, "k", [], [], None, missing)
            continue
        with TemporaryDirectory() as folder:
            yield await _case(Path(folder), case, traffic_mesh.GROUPS[group], protocol)


async def _case(folder: Path, case: str, groups: tuple[str, ...], protocol: str) -> Figure:
    issuer = Issuer()
    asked = traffic_mesh.headers(protocol, issuer.token(exp=int(time.time()) + 3600, aud=None))

    def under(name: str) -> Sequence[str]:
        return ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / name}.count")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sidecars.app(folder, issuer.jwks().decode()))
        text = traffic_mesh.text(groups, protocol)
        ours = await stack.enter_async_context(sidecars.ours(folder, text, under=under))
        peer = await stack.enter_async_context(sidecars.minimal(folder, protocol, under=under))
        sides = [Side(pair, load_of(folder, pair, protocol, asked)) for pair in (ours, peer)]
        for side in sides:
            await answers(side)
            await side.load.some(WARM)
        for _ in range(ROUNDS):
            for side in sides:
                side.costs.append(await _counted(folder, side))
    note = f"thousands of instructions of both Envoys for one of {REQUESTS} requests; none of the kernel's"
    return Figure("instructions", case, "k", sides[0].costs, sides[1].costs, None, note)


async def _counted(folder: Path, side: Side) -> float:
    """Return the thousands of instructions of a pair for one request."""
    before = _dumped(folder)
    await _tell(side.pair, "--instr=on")
    await side.load.some(REQUESTS)
    await _tell(side.pair, "--instr=off")
    await _tell(side.pair, "--dump")
    return (_dumped(folder) - before) / REQUESTS / 1000


def _dumped(folder: Path) -> int:
    """Return the instructions of all dumps so far."""
    texts = (file.read_text() for file in folder.glob("*.count.*"))
    return sum(int(count) for text in texts for count in _TOTALS.findall(text))


async def _tell(pair: Pair, what: str) -> None:
    """Have callgrind do something in each Envoy of a pair."""
    for pid in pair.pids:
        process = await asyncio.create_subprocess_exec(
            "callgrind_control", what, str(pid), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        if process.returncode != 0:
            raise Broken(f"callgrind_control {what}: {said.decode()[-500:]}")
