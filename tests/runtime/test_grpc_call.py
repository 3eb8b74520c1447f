"""The light gRPC call, against gRPC's own server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived

from legation.runtime.grpc_call import CallEnded, calling
from legation.runtime.unix_grpc import listen_unix

METHOD = "/a.Service/Method"
LARGE = 300_000


@asynccontextmanager
async def served(path: Path, handle: Callable[..., AsyncIterator[bytes]]) -> AsyncIterator[None]:
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Method": handler}),))
    listen_unix(server, path)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0.1)


async def ended(path: Path, *, said: bytes = b"a") -> tuple[list[bytes], str]:
    """Return what a call brings, and why it ends."""
    got: list[bytes] = []
    try:
        async with asyncio.timeout(10), calling(path, METHOD) as call:
            call.write(said)
            async for message in call.messages():
                got.append(message)  # noqa: PERF401 - what came before it ended is wanted too
    except CallEnded as error:
        return got, str(error)
    raise AssertionError


def test_messages_of_any_size_come_and_go_in_order(tmp_path):
    async def echo(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            for size in (0, 1, LARGE):
                yield request * size

    async def main() -> None:
        async with served(tmp_path / "s", echo), asyncio.timeout(10), calling(tmp_path / "s", METHOD) as call:
            messages = call.messages()
            for letter in (b"a", b"b", b"c"):
                call.write(letter)
                assert [await anext(messages) for _ in range(3)] == [b"", letter, letter * LARGE]

    asyncio.run(main())


def test_why_a_call_ends_is_said_after_what_it_brought(tmp_path):
    async def fail(_: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 %")

    async def leave(_: AsyncIterator[bytes], __: Any) -> AsyncIterator[bytes]:
        yield b"all"

    async def main() -> None:
        async with served(tmp_path / "s", fail):
            assert await ended(tmp_path / "s") == ([b"first"], "not for you: 100 %")
        async with served(tmp_path / "t", leave):
            assert await ended(tmp_path / "t") == ([b"all"], "the server ends the stream")
        assert (await ended(tmp_path / "nobody"))[1].startswith("[Errno 2]")

    asyncio.run(main())


def test_a_server_that_ends_ends_the_call(tmp_path):
    begun = asyncio.Event()

    async def stay(_: AsyncIterator[bytes], __: Any) -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with served(tmp_path / "s", stay):
            call = asyncio.ensure_future(ended(tmp_path / "s"))
            await begun.wait()
        got, why = await call
        assert got == [b"first"]
        assert why

    asyncio.run(main())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", b""])
def test_what_does_not_speak_grpc_is_no_server(tmp_path, answer):
    async def main() -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(speak, tmp_path / "s"):
            assert await ended(tmp_path / "s") == ([], "the server closes the connection")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("head", "why"), [(b"\x01\0\0\0\0", "compressed"), (b"\0\xff\0\0\0", "larger than 4 MiB"), (b"", "")]
)
def test_a_message_that_is_none_of_ours_ends_the_call(tmp_path, head, why):
    """By h2's own server, as gRPC's sends no such."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = H2Connection(H2Configuration(client_side=False))
        peer.initiate_connection()
        while not any(isinstance(event, DataReceived) for event in peer.receive_data(await reader.read(65536))):
            pass
        peer.send_headers(1, [(":status", "200" if head else "503")])
        if head:
            peer.send_data(1, head)
        writer.write(peer.data_to_send())

    async def main() -> None:
        async with await asyncio.start_unix_server(speak, tmp_path / "s"):
            got, said = await ended(tmp_path / "s")
        assert got == []
        assert why in said if head else "503" in said

    asyncio.run(main())


def test_a_write_that_the_server_does_not_take_at_once_ends_the_call(tmp_path):
    async def stay(_: AsyncIterator[bytes], __: Any) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def main() -> None:
        async with served(tmp_path / "s", stay):
            assert "flow control window" in (await ended(tmp_path / "s", said=b"a" * LARGE))[1]

    asyncio.run(main())
