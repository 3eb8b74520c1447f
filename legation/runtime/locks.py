"""Locks on things of this host that several meshes share: loopback blocks, slots, app ports.

A lock is an abstract unix socket: it spans all users of the network namespace, as loopback
addresses do, and the kernel takes it back when its holder dies.
"""

import random
import socket
from collections.abc import Iterable

from legation.mesh import names

Lock = socket.socket
"""Held until it is closed."""


def acquire(name: str) -> Lock | None:
    """Return a lock, or None when another process holds it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(f"\0legation/{name}")
    except OSError:
        sock.close()
        return None
    return sock


def first(kind: str, candidates: Iterable[int]) -> tuple[int, Lock] | None:
    """Return the first candidate that nobody holds, with its lock."""
    for candidate in candidates:
        if (held := acquire(f"{kind}/{candidate}")) is not None:
            return candidate, held
    return None


def app_port() -> tuple[int, Lock]:
    """Return a port for an app that nothing on this host listens on, with its lock."""
    ports = random.sample(names.APP_PORTS, 200)
    found = first("app-port", (port for port in ports if is_free("", port)))
    if found is None:
        raise OSError(f"no free port among {names.APP_PORTS.start}-{names.APP_PORTS.stop - 1}")
    return found


def is_free(address: str, port: int) -> bool:
    """Say whether an address and port can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
