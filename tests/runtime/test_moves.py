"""Waiting for what comes about in many small steps."""

import asyncio
from functools import partial

from legation.runtime.tasks import Moves


def reached(steps: list[int], count: int) -> bool:
    return len(steps) >= count


def test_whoever_waits_looks_after_each_step_and_leaves_nothing():
    async def run():
        moves = Moves()
        steps: list[int] = []
        waits = [asyncio.ensure_future(moves.until(partial(reached, steps, n), 10)) for n in (1, 2)]
        for _ in range(2):
            steps.append(1)
            moves.moved()
            await waits[len(steps) - 1]
        assert [wait.result() for wait in waits] == [True, True]
        assert moves._waiting == set()

    asyncio.run(run())


def test_what_is_done_is_not_waited_for_and_what_never_is_has_a_limit():
    async def run():
        moves = Moves()
        assert await moves.until(lambda: True, 0)
        assert not await moves.until(lambda: False, 0)
        moves.moved()
        assert not await moves.until(lambda: False, 0.02)
        assert moves._waiting == set()

    asyncio.run(run())
