"""mesh.yaml as the operator edits it: every change of its content goes through `apply`.

Beside it, in the same watch, which OpenBaos certmgr wants.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import structlog
from watchfiles import awatch

from legation.host.host import Host
from legation.runtime import mesh_file
from legation.runtime.control.client import ControlError

log = structlog.get_logger()

_POLL_EVERY = 5.0
"""Seconds: a watch misses what network file systems and some editors do, a look at the content does not."""

_LOOK_EVERY = 500
"""Milliseconds, where the kernel does not say when a file changes."""
_FIX = "sysctl fs.inotify.max_user_instances=1024: a user has 128 by itself, and other programs hold them"


async def follow(host: Host) -> None:
    """Apply the file whenever its content changes, until the host stops."""
    file, seen = Path(host.host.file), host.text
    async for _ in _looks(host, file.parent, host.state.certmgr):
        host.openbaos.look()
        text = await asyncio.to_thread(_read, file)
        if text is None or text == seen:
            continue
        try:
            result = await host.apply(text, await asyncio.to_thread(_saved, file))
        except ControlError as error:
            log.warning("mesh file not applied yet", error=str(error))
            continue
        seen = text
        if result.violations:
            log.warning("mesh file rejected, nothing has changed", violations=list(host.file_problems))


async def _looks(host: Host, *folders: Path) -> AsyncIterator[object]:
    """Yield when something in these folders may have changed: told by the kernel, else by looking all the time."""
    watch = partial(
        awatch,
        *folders,
        stop_event=host.stopping,
        debounce=100,
        rust_timeout=int(_POLL_EVERY * 1000),
        yield_on_timeout=True,
        recursive=False,
    )
    try:
        async for changes in watch():
            yield changes
    except RuntimeError as error:  # of watchfiles: no inotify instance is left, or no watch
        log.warning("the kernel tells no changes of files, so they are looked at", error=str(error), fix=_FIX)
        async for changes in watch(force_polling=True, poll_delay_ms=_LOOK_EVERY):
            yield changes


def _saved(file: Path) -> float | None:
    """Return when the file was saved, in seconds since the epoch; None while an editor replaces it."""
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _read(file: Path) -> str | None:
    """Return the file's text, or None while an editor replaces it."""
    try:
        return mesh_file.read(file) if file.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None
