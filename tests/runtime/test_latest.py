"""Every watcher sees the newest value; what lies between is coalesced."""

import asyncio

from legation.runtime.tasks import Latest, pause


async def settled() -> None:
    for _ in range(5):
        await pause(0)


async def collect(latest: Latest[int], seen: list[int]) -> None:
    async for value in latest.watch():
        seen.append(value)  # noqa: PERF401 - what it has seen is looked at meanwhile


def test_a_watcher_sees_the_present_value_and_each_newest_and_none_between() -> None:
    async def run() -> None:
        latest, seen = Latest(1), list[int]()
        task = asyncio.ensure_future(collect(latest, seen))
        await settled()
        latest.set(2)
        latest.set(3)
        await settled()
        latest.set(3)
        await settled()
        assert [1, 3, 3] == seen
        task.cancel()

    asyncio.run(run())


def test_who_leaves_as_a_value_comes_hinders_nobody() -> None:
    async def run() -> None:
        latest, seen = Latest(1), list[int]()
        tasks = [asyncio.ensure_future(collect(latest, s)) for s in (list[int](), seen, list[int]())]
        await settled()
        tasks[0].cancel()
        await settled()
        tasks[2].cancel()
        latest.set(2)  # before the one that is cancelled has run again
        await asyncio.gather(tasks[0], tasks[2], return_exceptions=True)
        latest.set(3)
        await settled()
        assert [1, 2, 3] == seen
        assert [True, False, True] == [task.cancelled() for task in tasks]
        tasks[1].cancel()

    asyncio.run(run())
