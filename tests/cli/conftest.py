"""The command in this process, as somebody with an empty home, and a fake host that answers it."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner, Result

import legation.cli.run
import legation.cli.up
from legation.cli.main import app
from legation.host.layout import HostFile
from legation.runtime.control.messages import (
    MeshDocument,
)
from legation.runtime.control.server import reply
from legation.runtime.state import StateFolder
from tests.support.samples import STATUS
from tests.support.served import served

GOOD = """\
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080}
"""
BAD = GOOD.replace("8080", "80800").replace("http", "htp")


class FakeHost:
    """What `legation up` answers, and the process that it is: `legation down` ends that."""

    def __init__(self, state: StateFolder, name: str) -> None:
        self.state = state
        self.status = replace(STATUS, mesh=name)
        self.process = subprocess.Popen(["/bin/sleep", "600"])
        self.ends = True
        state.make()
        file = HostFile(
            mesh=name, file=str(Path("mesh.yaml").resolve()), pid=self.process.pid, block=3, gateway_ports={"web": 9000}
        )
        file.write(state.host_file)

    def routes(self) -> list[Route]:
        async def status(_: Request) -> Response:
            return reply(self.status)

        async def mesh(_: Request) -> Response:
            return reply(MeshDocument(file="mesh.yaml", text=GOOD.replace("shop", self.status.mesh, 1)))

        async def down(_: Request) -> Response:
            if self.ends:
                self.process.kill()
                self.process.wait()
            return Response(status_code=202)

        return [Route("/status", status), Route("/mesh", mesh), Route("/down", down, methods=["POST"])]

    @contextmanager
    def answering(self) -> Iterator["FakeHost"]:
        """Serve while the block runs, and end the process after it."""
        try:
            with served(self.state.control("host"), self.routes()):
                yield self
        finally:
            self.process.kill()
            self.process.wait()


@dataclass
class Home:
    """Somebody's home: the working folder too."""

    folder: Path
    runner: CliRunner

    def legation(self, *words: str) -> Result:
        return self.runner.invoke(app, list(words))

    def write(self, text: str = GOOD) -> None:
        (self.folder / "mesh.yaml").write_text(text)

    def state(self, name: str = "shop") -> StateFolder:
        return StateFolder(self.folder / ".local" / "state" / "legation" / name)

    def host(self, name: str = "shop") -> AbstractContextManager[FakeHost]:
        return FakeHost(self.state(name), name).answering()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path, CliRunner())


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[str, dict[str, object]]]:
    """What this process would have become: the module, and the content of the file that it is given."""
    became: list[tuple[str, Path]] = []

    def become(module: str, argument: Path) -> int:
        became.append((module, argument))
        return 0

    for module in (legation.cli.run, legation.cli.up):
        monkeypatch.setattr(module, "become", become)

    def last() -> tuple[str, dict[str, object]]:
        module, file = became[-1]
        return module, json.loads(file.read_text())

    return last


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The commands make files for this user alone."""
    before = os.umask(0o022)
    yield
    os.umask(before)
