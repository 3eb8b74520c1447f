"""One instance's world: a fake xds_server, a fake Envoy and a fake app, all under a state folder of their own."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import SidecarRequest
from legation.runtime.state import StateFolder
from legation.sidecar import report
from legation.sidecar.run import run
from legation.sidecar.settings import RunSettings
from tests.support.fake_xds import FakeXds
from tests.support.programs import eventually, fake, script

ADDRESSES = tuple(f"127.254.{os.getpid() % 250}.{number}" for number in (1, 2))
"""Of this run of the tests alone."""


@dataclass
class SidecarWorld:
    """`behaviour` is how the Envoys that start from now on behave (tests/support/fake_envoy.py)."""

    folder: Path
    state: StateFolder
    behaviour: dict[str, Any] = field(default_factory=lambda: {"listeners": ["inbound"]})
    xds: FakeXds = field(init=False)

    def __post_init__(self) -> None:
        self.xds = FakeXds(self._bootstrap)
        self.envoy = script(self.folder / "envoy", f'{fake("fake_envoy")} "$@"')

    def _bootstrap(self, request: SidecarRequest) -> str:
        return json.dumps({"admin": request.admin_socket, "events": str(self.folder / "events"), **self.behaviour})

    def settings(self, service: str = "web", *, app: str | None = "", supervised: bool = False) -> RunSettings:
        """Settings of an instance; `app` are the fake app's words, None for no app."""
        spec = InstanceSpec(f"{service}-v1-{os.getpid()}", service, "v1", "", "", outbound_ports={})
        command = () if app is None else ("/bin/sh", "-c", f"{fake('fake_app')} {app}")
        return RunSettings(
            spec=spec,
            addresses=ADDRESSES,
            xds_host="127.0.0.1",
            xds_port=1,
            root=self.state.root,
            envoy=self.envoy,
            command=command,
            folder=self.folder,
            supervised=supervised,
        )

    def report(self, settings: RunSettings) -> report.Report:
        found = report.read(settings.files)
        assert found is not None
        return found

    def events(self) -> list[str]:
        file = self.folder / "events"
        return file.read_text().splitlines() if file.exists() else []

    @asynccontextmanager
    async def living(self, settings: RunSettings) -> AsyncIterator["asyncio.Task[int]"]:
        """Run an instance beside the block; it must have ended when the block has."""
        life = asyncio.ensure_future(run(settings, {"PATH": os.environ["PATH"]}))
        try:
            await eventually("signals are taken", lambda: signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
            yield life
            async with asyncio.timeout(20):
                await life
        finally:
            life.cancel()
            await asyncio.wait([life])

    async def ready(self, settings: RunSettings) -> None:
        await eventually("the instance is ready", lambda: "ready" in self.xds.said(settings.spec.id))

    def ask_to_end(self) -> None:
        """Send SIGTERM, as whoever ends `legation run` does."""
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "it would end the tests"
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SidecarWorld]:
    state = StateFolder(tmp_path / "state")
    state.make()
    yield SidecarWorld(tmp_path, state)
    shutil.rmtree(state.run)


Play = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play(world: SidecarWorld) -> Play:
    """Play a scene while the fake xds_server answers."""

    def played(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60), world.xds.serving(world.state):
                await scene()

        asyncio.run(whole())

    return played
