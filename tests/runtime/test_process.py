"""Child processes: they die with us, and their logs are bounded."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from legation.runtime import process
from tests.support.mesh import wait_for

PARENT = """
import asyncio, sys
from pathlib import Path
from legation.runtime import process
async def main():
    child = await process.start(["/bin/sleep", "60"], Path(sys.argv[1]))
    print(child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(1, flush=True)
signal.sigwait([signal.SIGUSR1])
"""


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    wait_for("the child's end", lambda: not runs(child) or None, 20)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async def run() -> tuple[bool, int | None]:
        log = tmp_path / "log"
        child = await process.start([sys.executable, "-c", DEAF], log)
        await asyncio.to_thread(wait_for, "the program runs", lambda: log.read_text() or None, 10)
        return await process.stop(child, 0.2), child.returncode

    assert asyncio.run(run()) == (False, -signal.SIGKILL)


LEAVES = """
import signal, subprocess, sys
child = "import signal, sys; signal.signal(signal.SIGTERM, {how}); print('child', flush=True); signal.pause()"
left = subprocess.Popen([sys.executable, "-c", child])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(left.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("how", ["lambda *_: sys.exit(0)", "signal.SIG_IGN"], ids=["ends too", "is deaf"])
def test_what_a_program_has_started_ends_with_it(tmp_path: Path, how: str) -> None:
    """As with `sh -c "node server.js; true"`, or npm: the server would keep the port of the one that comes next."""
    log = tmp_path / "log"

    def left() -> int | None:
        words = log.read_text().split()
        return int(next(w for w in words if w != "child")) if len(words) == 2 else None

    async def run() -> int:
        child = await process.start([sys.executable, "-c", LEAVES.replace("{how}", how)], log)
        pid = await asyncio.to_thread(wait_for, "both run", left, 10)
        assert await process.stop(child, 10)
        return pid

    pid = asyncio.run(run())
    wait_for("what was left has ended", lambda: not runs(pid) or None, 20)


def test_a_log_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100)
        process.bound(log, 99)
        writer.write(b"b")
    assert log.read_bytes() == b"b"
    assert (tmp_path / "x.log.1").read_bytes() == b"a" * 100
    process.bound(log, 99)
    assert log.stat().st_size == 1


def test_last_words_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert process.tail(log) == ""
    log.write_text("1\n2\n3\n")
    assert process.tail(log, 2) == "2\n3"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("1\n2\n3\n4\n", "2\n3\n4"),
        (
            "up\nthrow new Error(`x`)\n^\n\nError: no luck\n    at f (a.js:1)\n    at g\n\nNode.js v24\n",
            "Error: no luck",
        ),
        ("Traceback:\n  File\nOSError: [Errno 98] Address in use\n", "OSError: [Errno 98] Address in use"),
    ],
)
def test_last_words_say_why(tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "x.log").write_text(log)
    assert process.last_words(tmp_path / "x.log") == words
