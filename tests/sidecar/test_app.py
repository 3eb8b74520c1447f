"""An app under its sidecar's eyes: when it listens, and what it may not listen on."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from legation.runtime import locks, process
from legation.runtime.supervisor import Program, Supervisor
from legation.runtime.tasks import until
from legation.sidecar.app import AppProcess, Exposed

APP = """
import os, signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
own = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
signal.sigwait([signal.SIGUSR1])
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
late = socket.create_server((sys.argv[1], 0), family=family)
print("open", flush=True)
signal.pause()
"""


class Life:
    """An app that listens on its port, and on one more address from SIGUSR1 on."""

    def __init__(self, folder: Path, address: str) -> None:
        port, lock = locks.app_port()
        lock.close()
        self.log, self.said = folder / "app.log", list[bool]()
        argv = [sys.executable, "-c", APP, address]
        program = Program("orders", lambda: argv, self.log, env={"PORT": str(port)})
        self.app = AppProcess("orders", program, port, self.said.append)

    async def begin(self) -> "asyncio.Future[None]":
        """Start it; it listens when this returns, and has been told to open the other address."""
        kept = asyncio.ensure_future(self.app.keep())

        async def listens() -> bool:
            return self.said[-1:] == [True]

        assert await until(listens, 10)
        assert self.app.pid is not None
        os.kill(self.app.pid, signal.SIGUSR1)
        return kept

    async def is_open(self) -> bool:
        return "open" in self.log.read_text()


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_an_app_that_opens_itself_to_all_later_on_is_stopped(tmp_path: Path, address: str) -> None:
    async def run() -> None:
        life = Life(tmp_path, address)
        kept = await life.begin()
        with pytest.raises(Exposed, match="orders: the app listens on"):
            await asyncio.wait_for(kept, 20)
        assert life.app.pid is None

    asyncio.run(run())


def test_more_of_loopback_is_the_apps_own_matter(tmp_path: Path) -> None:
    """Seen open by two looks, and left alone."""

    async def run() -> None:
        life = Life(tmp_path, "127.0.0.2")
        kept = await life.begin()
        assert await until(life.is_open, 10)
        assert not (await asyncio.wait({kept}, timeout=0.5))[0]
        await life.app.stop(5)
        await kept

    asyncio.run(run())


@pytest.mark.timeout(20)
def test_an_end_that_is_told_of_late_leaves_the_loop_to_others(tmp_path: Path) -> None:
    """The process has ended, and the task that waits for that has not had its turn yet."""

    async def run() -> None:
        app = Life(tmp_path, "127.0.0.1").app
        app._supervisor.process = ended = await process.start(["true"], tmp_path / "app.log")
        await ended.wait()
        app._started.set()
        watch = asyncio.ensure_future(app._watch())
        assert not (await asyncio.wait({watch}, timeout=0.1))[0]
        watch.cancel()

    asyncio.run(run())


def test_stdout_and_stderr_are_told_apart(tmp_path: Path) -> None:
    async def run() -> None:
        log, errors = tmp_path / "app.log", tmp_path / "app.stderr.log"
        said = ["sh", "-c", "echo said; echo error: complained >&2; exec sleep 60"]
        supervisor = Supervisor(Program("orders", lambda: said, log, errors=errors))
        kept = asyncio.ensure_future(supervisor.keep())

        async def complained() -> bool:
            return errors.exists() and errors.read_text() != ""

        assert await until(complained, 10)
        assert (log.read_text(), errors.read_text()) == ("said\n", "error: complained\n")
        assert supervisor.last_words() == "error: complained"
        errors.write_text("")
        assert supervisor.last_words() == "said"
        await supervisor.stop(5)
        await kept

    asyncio.run(run())
