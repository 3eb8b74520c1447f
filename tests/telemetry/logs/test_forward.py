"""Records on their way to the team's own receiver: what arrives, and what becomes of those that do not."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.mesh.model.logging import Receiver
from legation.runtime.control.server import bind_tcp, running
from legation.runtime.tasks import until
from telemetry.logs import forward
from telemetry.logs.forward import Forwarder
from tests.xds_server.compile.test_external import certificate
from tests.xds_server.serve.envoy import free_port
from xds_server.compile.outside import SYSTEM_CA

LIMIT = 20.0


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @wraps(test)
    def run(**given: object) -> None:
        asyncio.run(test(**given))  # type: ignore[arg-type]

    return run


class Team:
    """A receiver that answers as it is told, and keeps what it takes."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = 200
        self.taken: list[tuple[bytes, str, str]] = []
        self.asked = 0
        self.hangs = asyncio.Event()

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Team"]:
        async def take(request: Request) -> Response:
            self.asked += 1
            body = await request.body()
            if self.status == 200:
                headers = request.headers
                self.taken.append((body, headers["content-type"], headers.get("x-scope-orgid", "")))
            elif self.status == 0:
                await self.hangs.wait()
            return Response("too much", self.status or 200)

        async with running([bind_tcp(f"127.0.0.1:{self.port}")], [Route("/v1/logs", take, methods=["POST"])], tls=tls):
            yield self


@asynccontextmanager
async def sending(team: Team, **more: str) -> AsyncIterator[tuple[Forwarder, dict[str, int]]]:
    lost: dict[str, int] = {}

    def dropped(reason: str, number: int) -> None:
        lost[reason] = lost.get(reason, 0) + number

    forwarder = Forwarder(dropped)
    scheme = "https" if "ca" in more else "http"
    forwarder.use(Receiver.model_validate({"url": f"{scheme}://localhost:{team.port}/v1/logs", **more}))
    task = asyncio.ensure_future(forwarder.run())
    try:
        yield forwarder, lost
    finally:
        task.cancel()


async def soon(condition: Callable[[], bool]) -> bool:
    async def holds() -> bool:
        return condition()

    return await until(holds, LIMIT)


@on_a_loop
async def test_what_arrives_is_whole_and_says_whose_it_is():
    team = Team()
    async with team.serving(), sending(team, tenant="shop") as (forwarder, lost):
        assert forwarder.wanted
        for batch in (b"one", b"two"):
            forwarder.offer(batch, 1)
        assert await soon(lambda: len(team.taken) == 2)
        assert team.taken == [(b, "application/x-protobuf", "shop") for b in (b"one", b"two")]
        assert await soon(lambda: forwarder.waiting == 0)
        assert (lost, forwarder.problem) == ({}, None)


@on_a_loop
async def test_a_receiver_that_is_away_or_busy_gets_it_later():
    team = Team()
    async with sending(team) as (forwarder, lost):
        forwarder.offer(b"one", 1)
        assert await soon(lambda: forwarder.problem is not None)
        assert "takes no logs" in str(forwarder.problem)
        async with team.serving():
            team.status = 429
            assert await soon(lambda: team.asked > 0)
            team.status = 200
            assert await soon(lambda: [b for b, *_ in team.taken] == [b"one"])
            assert await soon(lambda: forwarder.problem is None)
        assert lost == {}


@on_a_loop
async def test_what_is_rejected_is_counted_and_not_sent_again():
    team = Team()
    async with team.serving(), sending(team) as (forwarder, lost):
        team.status = 400
        forwarder.offer(b"one", 7)
        assert await soon(lambda: lost == {"rejected": 7})
        assert "400 too much" in str(forwarder.problem)
        team.status = 200
        forwarder.offer(b"two", 1)
        assert await soon(lambda: [b for b, *_ in team.taken] == [b"two"])
        assert team.asked == 2


@on_a_loop
async def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(forward, "MOST_WAITING", 100)
    team = Team()
    async with team.serving(), sending(team) as (forwarder, lost):
        team.status = 0
        for number in range(50):
            forwarder.offer(b"%010d" % number, 1)
        assert await soon(lambda: team.asked == 1)
        assert (forwarder.waiting, lost) == (100, {"receiver_away": 40})
        team.status = 200
        team.hangs.set()
        assert await soon(lambda: bool(team.taken) and team.taken[-1][0] == b"%010d" % 49)
        assert await soon(lambda: forwarder.waiting == 0)


@on_a_loop
async def test_who_is_not_wanted_any_more_gets_nothing():
    team = Team()
    async with team.serving(), sending(team) as (forwarder, lost):
        forwarder.use(None)
        assert (forwarder.wanted, forwarder.waiting) == (False, 0)
        forwarder.offer(b"one", 1)
        assert await soon(lambda: forwarder.waiting == 0)
        assert (team.taken, lost) == ([], {})


@pytest.mark.parametrize("vouched", [True, False])
@on_a_loop
async def test_records_go_over_verified_tls(tmp_path: Path, vouched: bool):
    made = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, tmp_path / "outside.key")
    team = Team()
    ca = str(made) if vouched else SYSTEM_CA
    async with team.serving(context), sending(team, ca=ca) as (forwarder, _lost):
        forwarder.offer(b"one", 1)
        if vouched:
            assert await soon(lambda: [b for b, *_ in team.taken] == [b"one"])
        else:
            assert await soon(lambda: forwarder.problem is not None)
            assert team.taken == []


def test_cas_are_read_once_and_when_their_file_changes(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    forwarder = Forwarder(lambda *_: None)
    receiver = Receiver(url="https://localhost/v1/logs", ca=str(made))
    first = forwarder._context(receiver)
    assert forwarder._context(receiver) is first
    os.utime(made, (1, 1))
    again = forwarder._context(receiver)
    assert again is not first
    assert forwarder._context(Receiver(url="https://other/v1/logs", ca=str(made))) is not again
    made.unlink()
    with pytest.raises(OSError, match=r"outside\.|No such file"):
        forwarder._context(receiver)
