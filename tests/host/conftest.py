"""A whole host's world: fake components and instances, and a fake xds_server that they meet at."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.host import control, watch
from legation.host.host import Given, Host
from legation.host.layout import HostFile
from legation.mesh.load import load
from legation.mesh.summarize import summarize
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import CertmgrStatus, InstanceStatus
from legation.runtime.control.server import bind_unix, reply, serve
from legation.runtime.state import StateFolder
from legation.runtime.tasks import spawn
from tests.support.fake_xds import FakeXds
from tests.support.programs import eventually, fake_python

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders], expose: {port: 8080}}
  orders: {protocol: http, port: 8080}
workloads:
  - {service: web, command: [web], env: {FAKE: ""}}
  - {service: orders, instances: 2, command: [orders]}
certificates: {dev: true}
"""
ALONE = MESH.replace(", expose: {port: 8080}", "").replace(
    "  - {service: orders, instances: 2, command: [orders]}\n", ""
)
"""A mesh of one instance."""
GOOD = CertmgrStatus(pid=1, ready=True, vault="ok", seconds_to_outage=3600, identities=())


@dataclass
class HostWorld:
    folder: Path
    state: StateFolder
    xds: FakeXds = field(default_factory=FakeXds)
    certmgr: CertmgrStatus = GOOD

    @property
    def file(self) -> Path:
        return self.folder / "mesh.yaml"

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.state.control("host"))

    def host(self, text: str = MESH) -> Host:
        self.file.write_text(text)
        desired = summarize(load(text, str(self.file)))
        host = HostFile(mesh="shop", file=str(self.file), pid=os.getpid(), block=189)
        return Host(Given(self.state, host, text, desired, {}))

    @asynccontextmanager
    async def running(self, text: str = MESH) -> AsyncIterator[Host]:
        """Run a host, its control API and its watch of the file beside the block, and end it after."""
        host = self.host(text)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            routes = control.routes(host)
            await stack.enter_async_context(serve([bind_unix(self.state.control("host"))], routes))
            watched = spawn(group, "file", watch.follow(host))
            run = spawn(group, "host", host.run())
            try:
                yield host
            finally:
                host.stopping.set()
                await run
                watched.cancel()

    async def serves(self, host: Host, *instances: str) -> None:
        """Wait until exactly these run and are ready, as the host sees it."""

        def ready() -> bool:
            known = {i.id for i in host.registry.instances if i.serves}
            return set(host.instances.slots) == set(instances) <= known

        await eventually(f"{', '.join(instances)} serve", ready)


def instances(status: Any) -> dict[str, InstanceStatus]:
    return {i.id: i for i in (*status.gateways, *(i for s in status.services for i in s.instances))}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostWorld]:
    monkeypatch.setattr(sys, "executable", str(fake_python(tmp_path / "python")))
    state = StateFolder(tmp_path / "state")
    state.make()
    yield HostWorld(tmp_path, state)
    shutil.rmtree(state.run)


Play = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play(world: HostWorld) -> Play:
    """Play a scene while the fakes of xds_server and certmgr answer."""

    async def status(_: Request) -> Response:
        return reply(world.certmgr)

    def played(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            certmgr = serve([bind_unix(world.state.control("certmgr"))], [Route("/status", status)])
            async with asyncio.timeout(60), world.xds.serving(world.state), certmgr:
                await scene()

        asyncio.run(whole())

    return played
