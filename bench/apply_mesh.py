"""loop-gap-apply-1000: how long xds_server's loop serves nobody while a mesh of 1,000 services is applied."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from statistics import median

from bench.gap import Gaps
from bench.peers.go import BUILT
from bench.program import running
from bench.report import Figure, Goal

SERVICES, STREAMS, ROUNDS = 1_000, 100, 3
_LIMIT = 180.0


async def figures() -> AsyncIterator[Figure]:
    """Yield the one figure. The peer is our own loop, which only waits: what the machine itself takes."""
    gaps = Gaps()
    ours, peer, worked, took = list[float](), list[float](), list[float](), list[float]()
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
        watch = asyncio.ensure_future(gaps.watch())
        for number in range(1, ROUNDS + 1):
            gaps.take()
            await server.say(f"apply {number}")
            longest, busiest, seconds = map(float, (await server.hear("applied", _LIMIT)).split())
            ours.append(longest)
            peer.append(gaps.take()[0])
            worked.append(busiest)
            took.append(seconds)
        watch.cancel()
    note = (
        f"{STREAMS} streams, every resource changes, {median(took):.1f} s to the last ACK; in a gap at most "
        f"{median(worked):.0f} ms of CPU time; peer: a loop that only waits, at the same time"
    )
    yield Figure("apply", f"loop-gap-apply-{SERVICES}", "ms", ours, peer, Goal(50, "<= 50 ms", absolute=True), note)
