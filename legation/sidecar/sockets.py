"""Which TCP sockets listen on this host, and which of them a process and its descendants hold (proc(5))."""

import os
from collections.abc import Iterator
from pathlib import Path

from legation.sidecar import sock_diag
from legation.sidecar.exposure import Listening, listening

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def all_listening() -> frozenset[Listening]:
    """Return all listening TCP sockets of this network namespace."""
    try:
        return sock_diag.ask()
    except OSError:
        return _tables()


def exposed_listening() -> frozenset[Listening]:
    """Return those that listen on more than loopback."""
    try:
        return sock_diag.ask(sock_diag.BEYOND_LOOPBACK)
    except OSError:
        return frozenset(s for s in _tables() if s.exposed)


def _tables() -> frozenset[Listening]:
    """Read what the kernel writes for people, where it has no sock_diag: a sandbox, a filter of address families."""
    return frozenset(s for table in _TABLES for s in listening(_rows(table)))


def _rows(table: str) -> Iterator[bytes]:
    try:
        file = open(table, "rb", buffering=4096)  # noqa: PTH123, SIM115 - the same, without the cost of a Path
    except FileNotFoundError:
        return
    with file:
        yield from file


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
