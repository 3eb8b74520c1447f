"""Which listening sockets a process and its descendants hold, from /proc (proc(5))."""

import os
from collections.abc import Iterator
from pathlib import Path

from legation.sidecar.exposure import Listening, listening

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def listening_rows() -> tuple[bytes, ...]:
    """Return the rows of all listening TCP sockets of this network namespace, as the kernel writes them.

    The kernel lists them first: one page is read, and more only where that is full of them.
    """
    return tuple(row for table in _TABLES for row in _rows(table))


def all_listening() -> frozenset[Listening]:
    """Return all listening TCP sockets of this network namespace."""
    return frozenset(listening(listening_rows()))


def listening_queues() -> dict[int, tuple[int, int]]:
    """Return each listening socket's port and how many connections wait on it, by inode."""
    fields = [row.split() for row in listening_rows()]
    return {int(f[9]): (int(f[1].rpartition(b":")[2], 16), int(f[4].rpartition(b":")[2], 16)) for f in fields}


def _rows(table: str) -> Iterator[bytes]:
    try:
        file = open(table, "rb", buffering=4096)  # noqa: PTH123, SIM115 - the same, without the cost of a Path
    except FileNotFoundError:
        return
    with file:
        next(file, None)
        for row in file:
            if row.split(None, 4)[3] != b"0A":
                return
            yield row


def inodes_of(pid: int) -> dict[int, int]:
    """Return the sockets that a process and its descendants have open: inode: descriptor; empty when it is gone."""
    return {inode: number for member in _tree(pid) for inode, number in _inodes(member)}


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in _listed(f"/proc/{pid}/task"):
        try:
            children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _inodes(pid: int) -> Iterator[tuple[int, int]]:
    for number in _listed(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{number}")  # noqa: PTH115 - as above
        except OSError:  # closed since it was listed
            continue
        if link.startswith("socket:["):
            yield int(link.removeprefix("socket:[").removesuffix("]")), int(number)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - as above
    except OSError:
        return []
