"""How a service starts and ends: one event loop, one stop event that SIGTERM and SIGINT set."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

from legation.runtime import log as logs

log = structlog.get_logger()


def light() -> None:
    """Wait for children by pidfd, as Python 3.12 does of itself, and not with a thread for each."""
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def open_files() -> None:
    """Take as many open files as this user may have: a stream is one, and 1,024 is what many a shell gives."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until_stopped(work: Awaitable[None]) -> None:
    """Run a service's work until it ends or a signal asks it to; errors of the work come through."""
    stop = stop_on_signals()
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
    stopped.cancel()
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")


def main(service: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a service to its end: logs set up, umask 077, exit code 1 when it fails."""
    os.umask(0o077)
    logs.set_up(service)
    open_files()
    try:
        asyncio.run(until_stopped(work()))
    except Exception:  # a task's root: everything is logged once, and the supervisor sees the exit code
        log.exception("failed")
        sys.exit(1)
