"""Named asyncio tasks, and waits with a limit. The only place that calls `asyncio.sleep`."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def spawn(group: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task in a group under a name that its traceback and the debugger show."""
    return group.create_task(work, name=name)


async def pause(seconds: float) -> None:
    """Wait: for back-off and pacing in shells, never in place of a condition that can be waited for."""
    await asyncio.sleep(max(0.0, seconds))


async def until(condition: Callable[[], Awaitable[bool]], limit: float, every: float = 0.05) -> bool:
    """Ask until the condition holds (True) or `limit` seconds have passed (False)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    while not await condition():
        if loop.time() >= deadline:
            return False
        await pause(every)
    return True


def jittered(base: float, limit: float, attempt: int) -> float:
    """Return the seconds to wait after an attempt (0: the first): exponential, capped, with full jitter."""
    return random.uniform(0, min(limit, base * 2 ** min(attempt, 16)))  # noqa: S311 - no secret


async def backoff(base: float, limit: float) -> AsyncIterator[int]:
    """Yield attempt numbers for ever, waiting between them with capped full jitter."""
    attempt = 0
    while True:
        yield attempt
        await pause(jittered(base, limit, attempt))
        attempt += 1


async def patiently(
    work: Callable[[], Awaitable[T]],
    limit: float,
    *,
    transient: tuple[type[Exception], ...],
    base: float = 0.1,
    waits: Callable[[Exception], None] = lambda _: None,
) -> T:
    """Do something until it works, with back-off after each transient error; the last of them after `limit` seconds.

    `waits` hears of the first one, when there is time to try again.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    async for attempt in backoff(base, limit / 4):
        try:
            return await work()
        except transient as error:
            if loop.time() >= deadline:
                raise
            if attempt == 0:
                waits(error)
    raise AssertionError


class Latest(Generic[T]):
    """The newest value of something that changes, for any number of watchers; what lies between is coalesced."""

    def __init__(self, value: T) -> None:
        """Start with a value, as its first version."""
        self._value = value
        self._version = 0
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake every watcher."""
        self._value = value
        self._version += 1
        waiting, self._waiting = self._waiting, {}
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def watch(self) -> AsyncIterator[T]:
        """Yield the present value, then each newer one; a slow watcher misses what lies between."""
        seen = -1
        while True:
            if seen != self._version:
                seen = self._version
                yield self._value
            else:
                await self._change()

    async def _change(self) -> None:
        """Wait for the next value. By a bare future, as thousands of streams wait at once and an Event costs more."""
        one = asyncio.get_running_loop().create_future()
        self._waiting[one] = None
        try:
            await one
        finally:
            self._waiting.pop(one, None)  # whoever waited has been cancelled


class Moves:
    """Wakes whoever waits for what comes about in many small steps, such as the answers of thousands of streams."""

    LOOK_EVERY = 0.005
    """Seconds between looks: among thousands of steps each look is worth some."""

    def __init__(self) -> None:
        """Start with nobody who waits."""
        self._waiting: set[asyncio.Event] = set()

    def moved(self) -> None:
        """Take that there was a step."""
        for waiting in self._waiting:
            waiting.set()

    async def until(self, done: Callable[[], bool], limit: float) -> bool:
        """Look after each step until it is done (True) or `limit` seconds have passed (False)."""
        moved = asyncio.Event()
        self._waiting.add(moved)
        try:
            async with asyncio.timeout(limit):
                while not done():
                    await moved.wait()
                    moved.clear()
                    await pause(self.LOOK_EVERY)
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(moved)
        return True


async def changed_within(latest: Latest[T], seen: T, limit: float) -> None:
    """Return when the value is another than `seen`; TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        async for value in latest.watch():
            if value != seen:
                return


async def until_set(
    values: AsyncIterator[T], stop: asyncio.Event, quiet: float | None = None
) -> AsyncIterator[T | None]:
    """Yield what an iterator yields, until it ends or the event is set; None after each `quiet` seconds of silence."""
    stopped = asyncio.ensure_future(stop.wait())
    following = asyncio.ensure_future(anext(values))
    try:
        while True:
            await asyncio.wait({following, stopped}, timeout=quiet, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return
            if not following.done():
                yield None
                continue
            try:
                yield following.result()
            except StopAsyncIteration:
                return
            following = asyncio.ensure_future(anext(values))
    finally:
        following.cancel()
        stopped.cancel()


async def follow(
    stream: Callable[[], AsyncIterator[T]],
    lost: Callable[[Exception, int], None],
    *,
    transient: tuple[type[Exception], ...],
    base: float = 0.1,
    limit: float = 2.0,
) -> AsyncIterator[T]:
    """Yield what a stream brings, for ever: one that ends or breaks is opened again, with capped full jitter.

    `lost(error, attempt)` hears of each break; attempt 0 is that of a stream that had brought something, or the first.
    """
    while True:
        async for attempt in backoff(base, limit):
            brought = False
            ended: Exception = EOFError("the stream ended")
            try:
                async for value in stream():
                    brought = True
                    yield value
            except transient as error:
                ended = error
            lost(ended, 0 if brought else attempt)
            if brought:
                await pause(jittered(base, limit, 0))
                break
