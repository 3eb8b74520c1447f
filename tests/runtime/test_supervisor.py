"""One child process that is kept running."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from legation.runtime import process
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import spawn
from tests.support.programs import eventually, script

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"


def play(supervisor: Supervisor, scene: "list[int | None]", *, until_running: bool = True) -> None:
    """Keep a program running, stop it, and note its pid."""

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            keep = spawn(group, "keep", supervisor.keep())
            if until_running:
                await eventually("it runs", lambda: supervisor.pid is not None and supervisor.program.log.read_text())
                scene.append(supervisor.pid)
            else:
                await asyncio.wait([keep], timeout=0)  # its first step alone: the start is under way
            await supervisor.stop(0.1)
            await keep

    asyncio.run(run())


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(Program("deaf", lambda: [sys.executable, "-c", DEAF], tmp_path / "log"))
    pids: list[int | None] = []
    play(supervisor, pids)
    assert pids[0] is not None
    assert not process.runs(pids[0])
    assert (supervisor.state, supervisor.exit_code) == ("stopped", -9)


def test_a_stop_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    supervisor = Supervisor(Program("sleep", lambda: ["/bin/sleep", "60"], tmp_path / "log"))
    play(supervisor, [], until_running=False)
    assert (supervisor.pid, supervisor.state) == (None, "stopped")


def test_a_stop_during_the_back_off_ends_it_at_once(tmp_path: Path) -> None:
    ends = script(tmp_path / "ends", "echo no luck; exit 1")
    supervisor = Supervisor(Program("ends", lambda: [str(ends)], tmp_path / "log"))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            spawn(group, "keep", supervisor.keep())
            await eventually("it has crashed thrice", lambda: supervisor.restarts > 2)
            await supervisor.stop(1)

    asyncio.run(run())
    assert supervisor.state == "stopped"
    assert supervisor.last_words().endswith("no luck")


def test_what_hangs_is_replaced_and_counted_apart(tmp_path: Path) -> None:
    supervisor = Supervisor(Program("sleep", lambda: ["/bin/sleep", "60"], tmp_path / "log"))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            keep = spawn(group, "keep", supervisor.keep())
            await eventually("it runs", lambda: supervisor.pid)
            first = supervisor.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            supervisor.replace("hung")
            await eventually("another runs", lambda: supervisor.pid not in (None, first))
            os.kill(supervisor.pid or 0, signal.SIGKILL)
            await eventually("it has ended too", lambda: supervisor.restarts == 2)
            await supervisor.stop(1)
            await keep

    asyncio.run(run())
    assert supervisor.restarts_by == {"hung": 1, "ended": 1}


@pytest.mark.parametrize(("code", "final"), [(78, True), (1, False)])
def test_a_final_exit_code_is_the_last(tmp_path: Path, code: int, final: bool) -> None:
    ends = script(tmp_path / "ends", f"exit {code}")
    supervisor = Supervisor(Program("ends", lambda: [str(ends)], tmp_path / "log", final=frozenset({78})))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            keep = spawn(group, "keep", supervisor.keep())
            await eventually("it has ended", lambda: keep.done() or supervisor.restarts > 0)
            assert (keep.done(), supervisor.exit_code) == (final, code), (
                "before the next life, which ends by our signal"
            )
            await supervisor.stop(1)

    asyncio.run(run())


def test_a_program_that_is_not_there_says_so_in_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(Program("none", lambda: [str(tmp_path / "none")], tmp_path / "log"))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            spawn(group, "keep", supervisor.keep())
            await eventually("it has been tried", lambda: supervisor.exit_code == 127)
            await supervisor.stop(1)

    asyncio.run(run())
    assert supervisor.last_words() == f"cannot start {tmp_path / 'none'}: No such file or directory"


def test_what_a_program_leaves_behind_when_it_crashes_is_ended(tmp_path: Path) -> None:
    crashes = script(tmp_path / "crashes", "sleep 60 & echo $!; exit 1")
    supervisor = Supervisor(Program("crashes", lambda: [str(crashes)], tmp_path / "log"))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            spawn(group, "keep", supervisor.keep())
            await eventually("it has crashed", lambda: supervisor.restarts > 0)
            await supervisor.stop(1)

    asyncio.run(run())
    left = int((tmp_path / "log").read_text().split()[0])
    asyncio.run(eventually("what it left has ended", lambda: not process.runs(left)))


def test_a_log_is_bounded_while_its_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legation.runtime.supervisor._LOOK_EVERY", 0.05)
    monkeypatch.setattr("legation.runtime.supervisor._LOG_LIMIT", 1000)
    talks = script(tmp_path / "talks", "while true; do echo a line of its log; sleep 0.001; done")
    supervisor = Supervisor(Program("talks", lambda: [str(talks)], tmp_path / "log"))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            spawn(group, "keep", supervisor.keep())
            await eventually("its old half is aside", (tmp_path / "log.1").exists)
            await supervisor.stop(5)

    asyncio.run(run())
    assert supervisor.restarts == 0
