"""What processes cost: their memory and their CPU time, as the kernel counts them (proc(5))."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.program import Broken
from legation.runtime.tasks import pause

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (2^20) of one process: all that it has in memory, and with shared pages divided by their users."""

    rss: float
    pss: float


def memory(pid: int) -> Memory:
    """Return a process's memory."""
    rows = (line.split() for line in _read(f"/proc/{pid}/smaps_rollup").splitlines()[1:])
    sizes = {row[0]: int(row[1]) * 1024 / MB for row in rows}
    return Memory(sizes["Rss:"], sizes["Pss:"])


async def cpu(pids: Iterable[int], seconds: float) -> Mapping[int, float]:
    """Return how many percent of a core each process takes while `seconds` pass."""
    before = {pid: _nanoseconds(pid) for pid in pids}
    await pause(seconds)
    return {pid: (_nanoseconds(pid) - then) / seconds / 1e9 * 100 for pid, then in before.items()}


def spent(pid: int) -> float:
    """Return the CPU time of a process so far, in seconds."""
    return _nanoseconds(pid) / 1e9


def _nanoseconds(pid: int) -> int:
    """Return the CPU time of all threads; in ticks, as in `stat`, an idle process would show none or one."""
    return sum(int(_read(str(task / "schedstat")).split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise Broken(f"{path}: {error.strerror}: the process has ended, or this kernel does not tell") from error
