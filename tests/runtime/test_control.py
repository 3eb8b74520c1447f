"""Both ends of the control API, over a real unix socket."""

import asyncio
import contextlib
import socket
import stat
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.runtime import http
from legation.runtime.control import guard
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import MeshDocument
from legation.runtime.control.server import bind_unix, events, reply, serve
from legation.runtime.tasks import Latest

DOCUMENT = MeshDocument(file="mesh.yaml", text="mesh: shop", version="1")


def routes(latest: Latest[MeshDocument]) -> list[Route]:
    async def get(_: Request) -> Response:
        return reply(latest.value)

    async def put(request: Request) -> Response:
        latest.set(msgspec.json.decode(await request.body(), type=MeshDocument))
        return reply(latest.value, 422 if latest.value.text == "bad" else 200)

    async def watch(_: Request) -> Response:
        return events(latest)

    return [Route("/mesh", get), Route("/mesh", put, methods=["PUT"]), Route("/watch", watch)]


def test_a_socket_is_its_owners_alone_and_answers(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "x.sock"
        async with serve([bind_unix(path)], routes(Latest(DOCUMENT))):
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
            client = ControlClient(path)
            assert await client.get("/mesh", MeshDocument) == DOCUMENT
            bad = replace(DOCUMENT, text="bad")
            assert await client.send("PUT", "/mesh", bad, MeshDocument) == bad, "422 carries an answer"
            with pytest.raises(ControlError, match="404"):
                await client.get("/nowhere", MeshDocument)

    asyncio.run(run())


def test_a_watcher_sees_the_value_now_and_each_newer_one(tmp_path: Path) -> None:
    async def run() -> None:
        latest = Latest(DOCUMENT)
        async with serve([bind_unix(tmp_path / "x.sock")], routes(latest)):
            client = ControlClient(tmp_path / "x.sock")
            watch = client.watch("/watch", MeshDocument)
            assert (await asyncio.wait_for(anext(watch), 5)).version == "1"
            latest.set(replace(DOCUMENT, version="2"))
            assert (await asyncio.wait_for(anext(watch), 5)).version == "2"

    asyncio.run(run())


def test_a_server_that_ends_ends_its_watches(tmp_path: Path) -> None:
    async def run() -> list[str]:
        seen = []
        async with serve([bind_unix(tmp_path / "x.sock")], routes(Latest(DOCUMENT))):
            client = ControlClient(tmp_path / "x.sock")
            watch = client.watch("/watch", MeshDocument)
            seen.append((await anext(watch)).version)
        async with asyncio.timeout(20):
            seen += [document.version async for document in watch]
        return seen

    assert asyncio.run(run()) == ["1"]


def test_a_live_socket_is_not_taken_over_and_a_dead_one_is(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    live = bind_unix(path)
    with pytest.raises(OSError, match="served by another process"):
        bind_unix(path)
    live.close()
    bind_unix(path).close()


def test_a_socket_whose_process_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """Its queue is full, so that a connection would wait for as long as it hangs."""
    path = tmp_path / "x.sock"
    waiting: list[socket.socket] = []
    with bind_unix(path) as hung:
        hung.listen(0)
        for _ in range(2):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].settimeout(0.1)
            with contextlib.suppress(OSError):
                waiting[-1].connect(str(path))
        with pytest.raises(OSError, match="served by another process"):
            bind_unix(path)
    for one in waiting:
        one.close()


def test_nobody_there_is_said_with_the_path(tmp_path: Path) -> None:
    async def run() -> None:
        client = ControlClient(tmp_path / "none.sock")
        with pytest.raises(ControlError, match=r"none\.sock does not answer") as caught:
            await client.get("/mesh", MeshDocument)
        assert caught.value.status == 0

    asyncio.run(run())


def test_a_client_costs_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is answered, what is too much is not kept, and who dawdles or comes too often is let go."""
    monkeypatch.setattr(guard, "CONNECTION_LIMIT", 20)
    path = tmp_path / "x.sock"

    async def opened(*pieces: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writers.append(writer)
        for piece in pieces:
            writer.write(piece)
        return reader

    async def asked(body: bytes) -> tuple[int, str]:
        answer = await http.request(path, "PUT", "/mesh", body=body, limit=20)
        return answer.status, answer.text

    writers: list[asyncio.StreamWriter] = []

    async def run() -> None:
        latest = Latest(DOCUMENT)
        async with asyncio.timeout(60), serve([bind_unix(path)], routes(latest)):
            assert await asked(b"{") == (400, "Input data was truncated")
            assert (await asked(b"[]"))[0] == 400
            assert (await asked(b'"' + b"x" * guard.BODY_LIMIT))[0] == 413
            with monkeypatch.context() as here:  # the others are whole in time on any machine
                here.setattr(guard, "REQUEST_LIMIT", 0.5)
                slow = [
                    await opened(),
                    await opened(b"GET /mesh HT"),
                    await opened(b"PUT /mesh HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"),
                    await opened(b"GET /mesh HTTP/1.1\r\nHost: x\r\n\r\nGET /mesh HT"),
                ]
                watch = await opened(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n")
                for reader in slow:
                    with contextlib.suppress(ConnectionError):
                        await reader.read()
                    assert reader.at_eof() or reader.exception() is not None
            latest.set(replace(DOCUMENT, version="2"))
            await watch.readuntil(b'"version":"2"')
            many = [await opened(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(30)]
            await asyncio.gather(*(reader.read(1) for reader in many), return_exceptions=True)
            assert 10 <= sum(reader.exception() is None and not reader.at_eof() for reader in many) < 20
            for writer in writers:
                writer.close()

    asyncio.run(run())
