"""Routes of a control API that answer from a thread, for a command that has this one."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from starlette.routing import Route

from legation.runtime.control.server import bind_unix, serve


@contextmanager
def served(socket: Path, routes: Sequence[Route]) -> Iterator[None]:
    """Serve routes on a unix socket while the block runs."""
    loop, up, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def answer() -> None:
        async with serve([bind_unix(socket)], routes):
            up.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(answer(),))
    thread.start()
    try:
        assert up.wait(20)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
