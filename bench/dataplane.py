"""dataplane: requests through two sidecars with features on, beside a minimal mTLS pair of stock Envoys.

Both pairs run at the same time, with the same client and the same app, and take turns.
"""

import shutil
import struct
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from google.protobuf.json_format import MessageToDict

from bench import asked as asked_programs
from bench import sidecars, traffic_mesh
from bench.asked import Missing
from bench.h2load import INSTALL, Load
from bench.processes import spent
from bench.program import Broken
from bench.report import Figure, Goal
from bench.sidecars import Pair
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.runtime.tasks import until
from legation.sidecar.modules import lines_module
from tests.xds_server.compile.tokens import Issuer
from xds_server.compile.http1_lines import http1_lines

LINES = "lines"
"""The case of the filter of decision 029 alone: the minimal pair, with it and without."""
ROUNDS = 5
PAIRS = 24
"""How often both sides are measured as fast as they can, by turns and shortly: a machine's pace changes in seconds."""
_WARM = 1
_CALM = 400
"""Requests a second at which the time of one is measured where every one is asked about."""
Goals = tuple[Goal | None, Goal | None]
"""Of requests per second, and of the time of 99 of 100 of them."""
_RPS, _P99 = Goal(0.95, ">= 0.95 x peer", least=True), Goal(1.1, "<= 1.1 x peer")


@dataclass
class Side:
    """One pair under load, and what it showed."""

    pair: Pair
    load: Load
    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    async def most(self, seconds: int) -> None:
        """Measure requests per second, and the CPU time of the pair for one."""
        before = sum(map(spent, self.pair.pids))
        self.rates.append(await self.load.most(seconds))
        self.costs.append((sum(map(spent, self.pair.pids)) - before) * 1e6 / (self.rates[-1] * seconds))


async def figures(seconds: int, only: str) -> AsyncIterator[Figure]:
    """Yield two figures a group and protocol; `only` is a pattern of `<group>-<protocol>`."""
    groups = (LINES, *traffic_mesh.GROUPS, *traffic_mesh.ASKING)
    names = [(group, protocol) for group in groups for protocol in traffic_mesh.PROTOCOLS]
    for group, protocol in names:
        if not fnmatch(f"{group}-{protocol}", only or "*"):
            continue
        if not shutil.which("h2load"):
            for name, unit, goal in _shapes(group):
                yield Figure("dataplane", f"{group}-{protocol}-{name}", unit, [], [], goal, INSTALL)
            continue
        if group in traffic_mesh.ASKING:
            with TemporaryDirectory() as folder:
                yield await _cost(Path(folder), group, protocol, seconds)
            continue
        with TemporaryDirectory() as folder:
            for figure in await _case(Path(folder), group, protocol, seconds):
                yield figure


def _shapes(group: str) -> tuple[tuple[str, str, Goal | None], ...]:
    """Return the name, the unit and the goal of a group's figures."""
    return (("cost", "us", None),) if group in traffic_mesh.ASKING else (("rps", "1/s", _RPS), ("p99", "ms", _P99))


async def _cost(folder: Path, group: str, protocol: str, seconds: int) -> Figure:
    """Return what it costs the two sidecars to ask about each request, beside the same two that ask nobody."""
    case = f"{group}-{protocol}-cost"
    asked, service = traffic_mesh.headers(protocol, ""), traffic_mesh.ASKING[group]
    text = traffic_mesh.text((group,), protocol)
    (folder / "plain").mkdir()
    try:
        async with (
            sidecars.app(folder, ""),
            _program(folder, group, load(text, "mesh.yaml").mesh),
            sidecars.ours(folder, text, service) as asking,
            sidecars.ours(folder / "plain", traffic_mesh.text((), protocol), slot=12) as silent,
        ):
            ours, peer = (Side(pair, load_of(folder, pair, protocol, asked)) for pair in (asking, silent))
            for side in (ours, peer):
                await answers(side)
            for _ in range(ROUNDS):
                for side in (ours, peer):
                    await side.most(seconds)
                    side.times.append(await side.load.p99(seconds, _CALM, folder / "h2load.log"))
    except Missing as missing:
        return Figure("dataplane", case, "us", [], [], None, str(missing))
    rates = f"{median(ours.rates):.0f} requests/s at most, peer {median(peer.rates):.0f}"
    times = f"p99 {median(ours.times):.2f} ms at {_CALM}/s, peer {median(peer.times):.2f}"
    note = f"CPU of two sidecars a request, the peer asks nobody; {rates}; {times}"
    return Figure("dataplane", case, "us", ours.costs, peer.costs, None, note)


def _program(folder: Path, group: str, mesh: Mesh) -> AbstractAsyncContextManager[None]:
    at = sidecars.address(0)
    if group == "extauthz":
        return asked_programs.authz(folder, at, sidecars.ASKED_PORT)
    return asked_programs.limiter(folder, at, sidecars.ASKED_PORT, mesh)


async def _case(folder: Path, group: str, protocol: str, seconds: int) -> Iterable[Figure]:
    issuer = Issuer()
    asked = traffic_mesh.headers(protocol, issuer.token(exp=int(time.time()) + 3600, aud=None))
    async with (
        sidecars.app(folder, issuer.jwks().decode()),
        _ours(folder, group, protocol) as our,
        sidecars.minimal(folder, protocol) as their,
    ):
        ours, peer = (Side(pair, load_of(folder, pair, protocol, asked)) for pair in (our, their))
        for side in (ours, peer):
            await answers(side)
        await measure(ours, peer, seconds, folder / "h2load.log")
    return compared("dataplane", f"{group}-{protocol}", ours, peer, (_RPS, _P99))


def cases_of(case: str, goals: Goals) -> tuple[str, str]:
    """Return the names of what is compared of a case, with `-cost` behind it where there is no goal."""
    rps, p99 = ("" if goal else "-cost" for goal in goals)
    return f"{case}-rps{rps}", f"{case}-p99{p99}"


def compared(bench: str, case: str, ours: Side, peer: Side, goals: Goals) -> Iterable[Figure]:
    """Return what two sides have shown: as fast as they could, and at one rate."""
    more = median(our / their for our, their in zip(ours.costs, peer.costs, strict=True))
    cost = f"{median(ours.costs):.1f} us of a core a request, peer {median(peer.costs):.1f}: {more:.3f}"
    rate = f"at {median(peer.rates) / 2:.0f}/s"
    rps, p99 = cases_of(case, goals)
    yield Figure(bench, rps, "1/s", ours.rates, peer.rates, goals[0], cost, paired=True)
    yield Figure(bench, p99, "ms", ours.times, peer.times, goals[1], rate, paired=True)


def _ours(folder: Path, group: str, protocol: str) -> AbstractAsyncContextManager[Pair]:
    if group == LINES:
        (folder / "lines").mkdir()
        lines = MessageToDict(http1_lines(lines_module()), preserving_proto_field_name=True)
        return sidecars.minimal(folder / "lines", protocol, [lines], slot=6)
    return sidecars.ours(folder, traffic_mesh.text(traffic_mesh.GROUPS[group], protocol))


def load_of(folder: Path, pair: Pair, protocol: str, headers: Mapping[str, str]) -> Load:
    """Return what asks a pair, with the body that gRPC needs."""
    body = folder / "message"
    body.write_bytes(b"\0" + struct.pack(">I", 64) + bytes(64))
    return Load(pair.url + traffic_mesh.PATH, protocol, headers, body if protocol == "grpc" else None)


async def answers(side: Side) -> None:
    """Wait until requests are answered, when keys of tokens are there."""

    async def answers() -> bool:
        try:
            await side.load.most(_WARM)
        except Broken:
            return False
        return True

    if not await until(answers, limit=20):
        await side.load.most(_WARM)


async def measure(ours: Side, peer: Side, seconds: int, log: Path) -> None:
    """Measure both in turns, each first in every other one: as fast as they can, then at half of the peer's best."""
    turns = (ours, peer), (peer, ours)
    for at in range(PAIRS):
        for side in turns[at % 2]:
            await side.most(seconds // 2)
    rate = median(peer.rates) / 2
    for at in range(ROUNDS * 2):
        for side in turns[at % 2]:
            side.times.append(await side.load.p99(seconds, rate, log))
