"""Child processes that die with us, and whose output goes to bounded files."""

import asyncio
import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from legation.runtime.tasks import until

_PR_SET_PDEATHSIG = 1
_LEFT_LIMIT = 2.0
"""Seconds for what a program leaves behind when it ends."""

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the child, before exec: ask the kernel for SIGKILL when our parent dies (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o077)


async def start(
    argv: Sequence[str],
    log: Path,
    *,
    errors: Path | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start a program in a session of its own (a terminal's Ctrl-C is ours to pass on).

    Its output is appended to `log`; what it writes to stderr to `errors`, where that is another file.
    """
    with log.open("ab") as output, (errors or log).open("ab") as complaints:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            env=dict(env) if env is not None else None,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


async def stop(process: asyncio.subprocess.Process, limit: float) -> bool:
    """End a program, and whatever it has started, by SIGTERM; after `limit` seconds by SIGKILL.

    Say whether SIGTERM was enough for the program itself. A shell, or npm, ends at once and leaves the server
    that it has started: that has a moment more, and then is killed.
    """
    if process.returncode is not None:
        return True  # its number may be another's by now
    signal_group(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), limit)
    except TimeoutError:
        signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        return False
    if not await until(partial(_is_gone, process.pid), min(limit, _LEFT_LIMIT)):
        signal_group(process.pid, signal.SIGKILL)
    return True


def signal_group(leader: int, number: int) -> bool:
    """Send a signal to a program that `start` has started and to what it has started itself; False: nobody is left."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    return True


async def _is_gone(leader: int) -> bool:
    return not signal_group(leader, 0)


def become(module: str, argument: Path) -> NoReturn:
    """Become `python -m MODULE ARGUMENT`: what this process has loaded, and it does not need, is let go."""
    os.execv(sys.executable, [sys.executable, "-m", module, str(argument)])  # noqa: S606 - our own program


def runs(pid: int) -> bool:
    """Say whether a process runs; a zombie has ended (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def bound(log: Path, limit: int) -> None:
    """Keep a log that others append to below `limit` bytes: its old half moves to `<name>.1`.

    Copied and cut, not renamed, as the writer keeps its file open (with O_APPEND).
    """
    if log.exists() and log.stat().st_size > limit:
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        os.truncate(log, 0)


_SAYS_WHY = re.compile(r"^(?=\S).*(error|exception|fatal|panic|cannot|refused|denied)", re.IGNORECASE)


def last_words(log: Path) -> str:
    """Return what the end of a program's log says of its end: the last line that names an error, or the last three.

    Below it is often a long stack trace, which whoever reads a status need not see.
    """
    lines = tail(log, 40).splitlines()
    why = [line for line in lines if _SAYS_WHY.match(line)]
    return why[-1] if why else "\n".join(lines[-3:])


def tail(log: Path, lines: int = 5, *, since: int = 0, size: int = 8192) -> str:
    """Return the last lines of a log, for messages: of its last `size` bytes, and none of its first `since`."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - size))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
