"""Processes of a mesh, killed."""

import os
import signal
from pathlib import Path

from legation.runtime.control.messages import InstanceStatus
from tests.support.mesh import wait_for


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; after SIGKILL return when the process is gone."""
    os.kill(pid, number)
    if number == signal.SIGKILL:
        wait_for(f"the end of {pid}", lambda: gone(pid) or None, 20)


def kill_one(victim: InstanceStatus, kind: str) -> None:
    """Kill a process of an instance; return when all that dies with it is gone: until then it may take requests."""
    kill(getattr(victim.pids, kind))
    others = [pid for pid in (victim.pids.envoy, victim.pids.app) if pid] if kind == "run" else []
    wait_for(f"the end of {others}", lambda: all(map(gone, others)) or None, 20)


def gone(pid: int) -> bool:
    """Say whether a process has ended with all of its threads: only then its sockets are closed."""
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return ended and len(list(Path(f"/proc/{pid}/task").iterdir())) <= 1
    except OSError:
        return True
