"""The loop of autoscaling: fake sidecars that count, and a fake `legation up` that is asked for instances."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from legation.mesh.load import load
from legation.runtime.control.messages import ScaleList, ScaleRequest, WorkloadInstance, WorkloadScale
from legation.runtime.control.server import bind_tcp, bind_unix, reply, serve
from telemetry.autoscale.actuator import HostRunner
from telemetry.autoscale.scaler import Scaler
from telemetry.inventory import Inventory
from tests.telemetry.registry import instance

TEXT = """
mesh: shop
trust_domain: shop.local
services:
  web:
    protocol: http
    port: 8080
    autoscale: {max: 4, requests_per_second: 100, stabilization_window: 30s, cooldown: 1s}
"""
COUNTED = """\
# TYPE envoy_http_downstream_rq_xx counter
envoy_http_downstream_rq_xx{{envoy_response_code_class="2",envoy_http_conn_manager_prefix="inbound"}} {}
# TYPE envoy_http_downstream_rq_active gauge
envoy_http_downstream_rq_active{{envoy_http_conn_manager_prefix="inbound"}} 1
"""


@dataclass
class World:
    """A clock, how many requests all instances have answered, and how many of them there are."""

    socket: Path
    text: str = TEXT
    now: float = 1000.0
    answered: float = 0.0
    desired: int = 1
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    refuses: bool = False
    silent: bool = False
    port: int = 0
    cpu: float = 0.0

    @property
    def clock(self) -> Any:
        class Clock:
            @staticmethod
            def now() -> float:
                return self.now

        return Clock()

    def inventory(self) -> Inventory:
        """Each instance answers on an address of its own, and has counted its share."""
        known = tuple(instance(n, address=f"127.0.7.{n + 1}", metrics_port=self.port) for n in range(self.desired))
        return Inventory(load(self.text, "mesh.yaml").mesh, known)

    def scaler(self) -> Scaler:
        return Scaler(self.inventory, HostRunner(self.socket), self.clock)

    async def look(self, scaler: Scaler, *, after: float = 5.0, requests: float = 0.0) -> None:
        """Let some seconds pass in which each instance has answered so many requests more; then look."""
        self.now += after
        self.answered += requests
        mesh = self.inventory().mesh
        assert mesh is not None
        await scaler.look(mesh)

    @asynccontextmanager
    async def host(self) -> AsyncIterator[None]:
        """Answer for `legation up`."""

        async def scales(_: Request) -> Response:
            there = tuple(
                WorkloadInstance(id=f"web-v1-{n}", ready=True, cpu_seconds=self.cpu) for n in range(self.desired)
            )
            return reply(
                ScaleList(
                    workloads=(WorkloadScale(service="web", version="v1", desired=self.desired, instances=there),)
                )
            )

        async def scale(request: Request) -> Response:
            if self.refuses:
                raise HTTPException(404, "not here")
            wish = msgspec.json.decode(await request.body(), type=ScaleRequest)
            self.asked.append((request.path_params["service"], request.path_params["version"], wish.replicas))
            self.desired = wish.replicas
            return reply(WorkloadScale(service="web", version="v1", desired=self.desired))

        routes = [Route("/scale", scales), Route("/scale/{service}/{version}", scale, methods=["PUT"])]
        async with serve([bind_unix(self.socket)], routes):
            yield

    @asynccontextmanager
    async def sidecars(self) -> AsyncIterator[None]:
        """Answer as the sidecars do, all on one port."""

        async def statistics(_: Request) -> Response:
            if self.silent:
                raise HTTPException(503, "not now")
            return PlainTextResponse(COUNTED.format(self.answered))

        first = bind_tcp("127.0.7.1:0")
        self.port = first.getsockname()[1]
        sockets = [first, *(bind_tcp(f"127.0.7.{n}:{self.port}") for n in (2, 3, 4))]
        async with serve(sockets, [Route("/stats/prometheus", statistics)]):
            yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "host.sock")


def play(world: World, scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            await stack.enter_async_context(world.host())
            await stack.enter_async_context(world.sidecars())
            await scene()

    asyncio.run(whole())


def test_instances_are_asked_for_and_given_back(world: World) -> None:
    async def scene() -> None:
        scaler = world.scaler()
        await world.look(scaler)
        assert world.asked == [], "a rate takes two looks"
        await world.look(scaler, requests=1200)
        assert world.asked == [("web", "v1", 3)]
        ((said,), problem) = scaler.shown()
        assert (said.desired, said.minimum, said.maximum, problem) == (3, 1, 4, None)
        assert said.change == "1 to 3: 3 needed; 240 requests a second in all, 100 for each"
        for _ in range(5):
            await world.look(scaler, requests=0)
        assert len(world.asked) == 1, "not before the window has passed"
        for _ in range(4):
            await world.look(scaler, requests=0)
        assert world.asked[1:] == [("web", "v1", 1)]
        assert scaler.counts == {("web", "v1", "up"): 1, ("web", "v1", "down"): 1}

    play(world, scene)


def test_a_number_that_an_operator_asks_for_stands_for_a_window(world: World) -> None:
    async def scene() -> None:
        scaler = world.scaler()
        for _ in range(9):
            await world.look(scaler, requests=0)
        world.desired = 3
        for _ in range(6):
            await world.look(scaler, requests=0)
            assert world.desired == 3
        for _ in range(2):
            await world.look(scaler, requests=0)
        assert world.desired == 1

    play(world, scene)


def test_sidecars_that_say_nothing_keep_what_there_is(world: World) -> None:
    async def scene() -> None:
        scaler = world.scaler()
        await world.look(scaler, requests=0)
        await world.look(scaler, requests=1200)
        assert world.desired == 3
        world.silent = True
        with capture_logs() as logs:
            for _ in range(20):
                await world.look(scaler)
        assert world.desired == 3
        ((said,), _) = scaler.shown()
        assert said.blind
        assert "requests_per_second is not known: no sidecar has answered" in said.reason
        assert [line["event"] for line in logs] == ["load is not known: nothing is taken away"]
        world.silent = False
        with capture_logs() as logs:
            await world.look(scaler)
            await world.look(scaler)
        assert [line["event"] for line in logs] == ["load is known"]

    play(world, scene)


def test_a_host_that_refuses_or_is_away_is_said(world: World) -> None:
    async def scene() -> None:
        scaler = world.scaler()
        world.refuses = True
        await world.look(scaler)
        await world.look(scaler, requests=1200)
        ((said,), _) = scaler.shown()
        assert (said.desired, said.blind) == (1, True)
        assert said.reason.endswith("legation up refuses: 404: not here")
        world.refuses = False
        await world.look(scaler, requests=1200)
        assert world.desired > 1, "it is asked again with the next look"
        scaler.actuator = HostRunner(world.socket.with_name("none.sock"))
        await world.look(scaler)
        ((said,), problem) = scaler.shown()
        assert said.blind
        assert problem == said.reason
        assert "legation up does not answer" in said.reason
        scaler.actuator = HostRunner(world.socket)
        await world.look(scaler)
        assert scaler.problem is None

    play(world, scene)


def test_who_is_new_waits_for_a_whole_window(world: World) -> None:
    """telemetry was restarted: what is there now stays until a window has shown that it is not needed."""

    async def scene() -> None:
        world.desired = 4
        scaler = world.scaler()
        for _ in range(6):
            await world.look(scaler, requests=0)
        assert world.desired == 4
        for _ in range(2):
            await world.look(scaler, requests=0)
        assert world.desired == 1

    play(world, scene)


def test_processor_time_is_the_host_s_word(world: World) -> None:
    world.text = TEXT.replace("requests_per_second: 100", "cpu: 50")

    async def scene() -> None:
        scaler = world.scaler()
        await world.look(scaler)
        world.cpu += 5.0
        await world.look(scaler)
        assert world.desired == 2, "a whole core, of which each is to use half"
        world.cpu = 0.0
        await world.look(scaler)
        assert world.desired == 2, "other processes: nothing is known of them yet"

    play(world, scene)


def test_a_mesh_without_a_policy_asks_nobody(world: World) -> None:
    world.text = TEXT.replace("autoscale", "# autoscale")

    async def main() -> None:
        scaler = world.scaler()
        scaler.outcomes = {("old", "v1"): None}  # type: ignore[dict-item]
        task = asyncio.ensure_future(scaler.run(0.01))
        while scaler.outcomes:
            await asyncio.wait([task], timeout=0.01)
        task.cancel()
        assert scaler.shown() == ((), None)

    asyncio.run(asyncio.wait_for(main(), 20))
