"""1-change-100-services: one endpoint changes; how long until the last of many streams has ACKed it."""

import sys
from collections.abc import AsyncIterator, Mapping
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

SERVICES = 100
ROUNDS = 15
LEAST_ROUNDS = 3
REST = 0.2
"""Seconds between two changes, so that none is slowed by what the one before it has left to do."""
START_LIMIT, ACK_LIMIT = 60.0, 60.0
GOAL = Goal(0.8, "<= 0.8 x peer")


@dataclass(slots=True)
class _Side:
    """A server with its streams, and how many milliseconds each change took."""

    server: Program
    client: Program
    took: list[float] = field(default_factory=list)

    async def change(self, index: int) -> None:
        began = perf_counter()
        await self.server.say(f"change {index % SERVICES}")
        await self.server.hear("acked", ACK_LIMIT)
        self.took.append((perf_counter() - began) * 1000)

    async def responses(self) -> int:
        """Return how many responses with endpoints its streams have had."""
        await self.client.say("count")
        return int(await self.client.hear("responses", ACK_LIMIT))


async def figures(streams: int, seconds: float) -> AsyncIterator[Figure]:
    """Yield the plaintext figure, then that over mTLS; each measures for about so many seconds."""
    case = f"1-change-{SERVICES}-services"
    try:
        program = go.build("fanout")
    except go.NoGo as error:
        yield Figure("fanout", case, "ms", [], [], GOAL, str(error))
        return
    yield await _figure(case, program, streams, seconds, None, GOAL)
    with TemporaryDirectory() as folder:
        yield await _figure(f"{case}-mtls", program, streams, seconds, tls.write(Path(folder)), None)


async def _figure(
    case: str, program: Path, streams: int, seconds: float, folder: Path | None, goal: Goal | None
) -> Figure:
    """Have both sides change in turns."""
    secured = [] if folder is None else [str(folder)]
    servers = {
        "ours": [sys.executable, "-m", "bench.server", str(SERVICES), *secured],
        "peer": [str(program), "server", str(SERVICES), str(streams), *secured],
    }
    async with AsyncExitStack() as stack:
        sides = {}
        for name, command in servers.items():
            log = go.BUILT / f"{case}-{name}"
            server = await stack.enter_async_context(running(command, log.with_suffix(".server.log")))
            address = await server.hear("serving", START_LIMIT)
            client_command = [str(program), "client", address, str(streams), *secured]
            client = await stack.enter_async_context(running(client_command, log.with_suffix(".client.log")))
            began = perf_counter()
            await client.hear("ready", START_LIMIT)
            sides[name] = _Side(server, client)
            print(f"{case}: {name}: {streams} streams up in {perf_counter() - began:.1f} s", file=sys.stderr)
        await _take_turns(sides, streams, seconds)
    ours, peer = sides["ours"].took, sides["peer"].took
    note = f"{streams} streams; peer: go-control-plane v0.14.0, one snapshot for all nodes"
    return Figure("fanout", case, "ms", ours, peer, goal, note)


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
