"""fanout-STREAMSxSERVICES: one endpoint changes; how long until the last of many streams has ACKed it.

With it what the streams' start takes (cold), and what they weigh (rss). The peer is go-control-plane in its two
forms: one snapshot that all nodes share, and one for each node, which is how it is mostly used.
"""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench import tls
from bench.peers import go
from bench.program import Broken, Program, running
from bench.report import Figure, Goal
from legation.runtime.tasks import pause

ROUNDS = 15
LEAST_ROUNDS = 3
STARTS = 3
REST = 0.2
"""Seconds between two changes, so that none is slowed by what the one before it has left to do."""
START_LIMIT, ACK_LIMIT = 120.0, 60.0
OURS, SHARED, PER_NODE = "ours", "shared", "pernode"
PEER = "peer: go-control-plane v0.14.0, one snapshot for"


@dataclass(frozen=True, slots=True)
class Shape:
    """So many streams that each follow so many services, and what is to be reached there."""

    streams: int
    services: int
    shared: Goal
    per_node: Goal

    @property
    def case(self) -> str:
        return f"fanout-{self.streams}x{self.services}"


SHAPES = (
    Shape(1000, 100, Goal(0.8, "<= 0.8 x peer"), Goal(0.1, "<= 0.1 x peer")),
    Shape(300, 1000, Goal(0.2, "<= 0.2 x peer"), Goal(0.02, "<= 0.02 x peer")),
)


def small(streams: int) -> Shape:
    """Return one shape of other streams than the usual ones."""
    return Shape(streams, SHAPES[0].services, SHAPES[0].shared, SHAPES[0].per_node)


COLD, RSS = Goal(0.6, "<= 0.6 x peer"), Goal(0.7, "<= 0.7 x peer")
MANY = (5_000, 10_000)


@dataclass(slots=True)
class _Side:
    """A server with its streams, and what has been measured of it."""

    services: int
    server: Program
    client: Program
    cold: list[float]
    took: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)

    async def change(self, index: int) -> None:
        began = perf_counter()
        await self.server.say(f"change {index % self.services}")
        await self.server.hear("acked", ACK_LIMIT)
        self.took.append((perf_counter() - began) * 1000)

    async def responses(self) -> int:
        """Return how many responses with endpoints its streams have had."""
        await self.client.say("count")
        return int(await self.client.hear("responses", ACK_LIMIT))


async def figures(shapes: tuple[Shape, ...], seconds: float) -> AsyncIterator[Figure]:
    """Yield the figures of each shape, plaintext and of the first over mTLS too; each takes about so many seconds."""
    try:
        program = go.build("fanout")
    except go.NoGo as error:
        for shape in shapes:
            yield Figure("fanout", f"{shape.case}-{SHARED}", "ms", [], [], shape.shared, str(error))
        return
    for shape in shapes:
        sides = await _measured(shape.case, program, shape, (OURS, SHARED, PER_NODE), seconds)
        for figure in _figures(shape, sides):
            yield figure
    if shapes is not SHAPES:
        return
    with TemporaryDirectory() as folder:
        case, shape = f"{shapes[0].case}-{SHARED}-mtls", shapes[0]
        sides = await _measured(case, program, shape, (OURS, SHARED), seconds, tls.write(Path(folder)))
        yield Figure("fanout", case, "ms", sides[OURS].took, sides[SHARED].took, None, f"{PEER} all nodes")
    for streams in MANY:
        many = Shape(streams, 100, shapes[0].shared, shapes[0].per_node)
        sides = await _measured(f"streams-{streams}", program, many, (OURS,), seconds, starts=1)
        one = sides[OURS]
        note = (
            f"one change until the last of {streams} streams has ACKed it; none is dropped, or this is no figure; "
            f"all were up in {one.cold[0]:.0f} s, {one.rss[0]:.0f} MB"
        )
        yield Figure("fanout", f"streams-{streams}", "ms", one.took, [], None, note)


def _figures(shape: Shape, sides: Mapping[str, _Side]) -> Iterator[Figure]:
    ours, shared, own = sides[OURS], sides[SHARED], sides[PER_NODE]
    yield Figure("fanout", f"{shape.case}-{SHARED}", "ms", ours.took, shared.took, shape.shared, f"{PEER} all nodes")
    yield Figure("fanout", f"{shape.case}-{PER_NODE}", "ms", ours.took, own.took, shape.per_node, f"{PEER} each node")
    if shape is SHAPES[0]:
        yield Figure("fanout", f"cold-{shape.streams}", "s", ours.cold, shared.cold, COLD, f"{PEER} all nodes")
        yield Figure("fanout", f"rss-{shape.streams}", "MB", ours.rss, shared.rss, RSS, f"{PEER} all nodes")


async def _measured(
    case: str,
    program: Path,
    shape: Shape,
    kinds: tuple[str, ...],
    seconds: float,
    folder: Path | None = None,
    starts: int = STARTS,
) -> Mapping[str, _Side]:
    """Have all sides start, and change in turns."""
    async with AsyncExitStack() as stack:
        sides = {kind: await _side(stack, case, program, shape, kind, folder, starts) for kind in kinds}
        await _take_turns(sides, shape.streams, seconds)
        for side in sides.values():
            side.rss.append(side.server.rss())
        return sides


async def _side(
    stack: AsyncExitStack, case: str, program: Path, shape: Shape, kind: str, folder: Path | None, starts: int
) -> _Side:
    """Start a server, and its streams several times; the last of them stay."""
    secured = [] if folder is None else [str(folder)]
    ours = [sys.executable, "-m", "bench.server", str(shape.services), *secured]
    peer = [str(program), "server", str(shape.services), str(shape.streams), kind, *secured]
    log = go.BUILT / f"{case}-{kind}"
    server = await stack.enter_async_context(running(ours if kind == OURS else peer, log.with_suffix(".server.log")))
    address = await server.hear("serving", START_LIMIT)
    command = [str(program), "client", address, str(shape.streams), "all", *secured]
    cold: list[float] = []
    for start in range(starts):
        began = perf_counter()
        own = AsyncExitStack()
        client = await own.enter_async_context(running(command, log.with_suffix(".client.log")))
        await client.hear("ready", START_LIMIT)
        cold.append(perf_counter() - began)
        if start < starts - 1:
            await own.aclose()
            await pause(REST * 5)
    stack.push_async_exit(own)
    print(f"{case}: {kind}: {shape.streams} streams up in {cold[-1]:.1f} s", file=sys.stderr)
    return _Side(shape.services, server, client, cold)


async def _take_turns(sides: Mapping[str, _Side], streams: int, seconds: float) -> None:
    """Change once to warm up, then by turns until the rounds or the seconds are over; Broken when a stream misses one.

    The first change is not counted: it also waits for what the streams' start has left to do.
    """
    for side in sides.values():
        await side.change(0)
        side.took.clear()
    before = {name: await side.responses() for name, side in sides.items()}
    began = perf_counter()
    for index in range(1, ROUNDS + 1):
        for side in sides.values():
            await pause(REST)
            await side.change(index)
        if index >= LEAST_ROUNDS and perf_counter() - began > seconds:
            break
    for name, side in sides.items():
        had = await side.responses() - before[name]
        if had != streams * len(side.took):
            raise Broken(f"{name}: {streams} streams had {had} responses to {len(side.took)} changes, not one each")
