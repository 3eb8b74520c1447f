"""Which listening sockets a process and its descendants hold, from /proc (proc(5))."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from legation.sidecar.exposure import Listening, listening

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def all_listening() -> frozenset[Listening]:
    """Return all listening TCP sockets of this network namespace."""
    return frozenset(socket for table in _TABLES for socket in _rows(table))


def _rows(table: Path) -> Iterator[Listening]:
    if not table.exists():
        return
    with table.open("rb", buffering=4096) as rows:
        yield from listening(rows)


def inodes_of(pid: int) -> frozenset[int]:
    """Return the socket inodes that a process and its descendants have open; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return frozenset()
    return frozenset(inode for member in tree for inode in _inodes(member.pid))


def _inodes(pid: int) -> Iterator[int]:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            link = str(entry.readlink())
        except OSError:  # closed since it was listed
            continue
        if link.startswith("socket:["):
            yield int(link.removeprefix("socket:[").removesuffix("]"))
