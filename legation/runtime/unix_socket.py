"""Whether a unix socket's file is of a process that lives."""

import socket
from pathlib import Path

_LIMIT = 1.0
"""Seconds for a connection: one whose queue is full, as its process hangs, would have us wait for ever."""


def is_served(path: Path) -> bool:
    """Say whether somebody listens on a socket: who does not answer is taken for somebody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_LIMIT)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
