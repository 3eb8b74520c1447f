"""What a mesh of 1,000 services costs while it is applied, and until a new proxy of it is configured."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from statistics import median

from bench.gap import Gaps
from bench.peers.go import BUILT
from bench.program import Program, running
from bench.report import Figure, Goal

SERVICES, STREAMS, ROUNDS, CONNECTS = 1_000, 100, 3, 15
_LIMIT = 180.0


async def figures() -> AsyncIterator[Figure]:
    """Yield the figures, with 100 streams up."""
    async with AsyncExitStack() as stack:
        log = BUILT / "apply"
        module = [sys.executable, "-m"]
        server = await stack.enter_async_context(
            running([*module, "bench.apply_server", str(SERVICES)], log.with_suffix(".server.log"))
        )
        address = await server.hear("serving", _LIMIT)
        client = await stack.enter_async_context(
            running(
                [*module, "bench.apply_client", address, str(SERVICES), str(STREAMS)], log.with_suffix(".client.log")
            )
        )
        await client.hear("ready", _LIMIT)
        yield await _route(server)
        yield await _connect(client)
        yield await _gap(server)


async def _route(server: Program) -> Figure:
    """Change one route; the first time is no figure, as it changes from no route to one."""
    took, proofs = list[float](), list[float]()
    for number in range(1, 2 + 3 * ROUNDS):
        await server.say(f"route {number}")
        _, _, seconds, proof = map(float, (await server.hear("applied", _LIMIT)).split())
        took.append(seconds)
        proofs.append(proof)
    note = (
        f"one route of one service changes, {STREAMS} streams: from PUT /mesh to the last ACK; "
        f"in it {median(proofs[1:]):.2f} s of trial by an Envoy"
    )
    return Figure("apply", f"config-apply-{SERVICES}", "s", took[1:], [], Goal(1, "<= 1 s", absolute=True), note)


async def _connect(client: Program) -> Figure:
    """Have one node more come, and another."""
    took = list[float]()
    for number in range(CONNECTS):
        await client.say(f"connect {number}")
        took.append(float(await client.hear("configured", _LIMIT)) * 1000)
    note = f"a proxy more, beside {STREAMS}: from its connection to its last clusters, endpoints, listeners and routes"
    return Figure("apply", "connect-to-configured", "ms", took, [], None, note)


async def _gap(server: Program) -> Figure:
    """Change every service. The peer is our own loop, which only waits: what the machine itself takes."""
    gaps = Gaps()
    ours, peer, worked, took = list[float](), list[float](), list[float](), list[float]()
    watch = asyncio.ensure_future(gaps.watch())
    for number in range(1, ROUNDS + 1):
        gaps.take()
        await server.say(f"apply {number}")
        longest, busiest, seconds, _ = map(float, (await server.hear("applied", _LIMIT)).split())
        ours.append(longest)
        peer.append(gaps.take()[0])
        worked.append(busiest)
        took.append(seconds)
    watch.cancel()
    note = (
        f"{STREAMS} streams, every resource changes, {median(took):.1f} s to the last ACK; in a gap at most "
        f"{median(worked):.0f} ms of CPU time; peer: a loop that only waits, at the same time"
    )
    return Figure("apply", f"loop-gap-apply-{SERVICES}", "ms", ours, peer, Goal(50, "<= 50 ms", absolute=True), note)
