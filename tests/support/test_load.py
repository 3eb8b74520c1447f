"""The load client against a server that fails on command: every kind of failure is seen, and nothing else is."""

import asyncio
import select
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from legation.runtime.tasks import until
from tests.support.load import Load, LoadEnded, Mixed, Request
from tests.support.load_http import Connection

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Answerer = Callable[[int, Writer], Awaitable[None]]


class Server:
    """A small HTTP/1.1 server; `answer(n, writer)` writes the n-th answer."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                self.requests.append((head.decode().partition(" HTTP")[0], body))
                await self.answer(len(self.requests), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(answer: Answerer) -> AsyncIterator[tuple[Server, str]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        listening.close()


def reply(status: int = 200, body: bytes = b"{}", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


async def fine(number: int, writer: Writer) -> None:
    name = "a" if number % 4 else "b"
    writer.write(reply(extra=f"X-Instance: web-{name}\r\nx-orders-instance: orders-{name}\r\n"))


def load_of(answer: Answerer, count: int, **options: Any):
    """Return the report of `count` requests at least, and the server that saw them."""

    async def main():
        async with serving(answer) as (server, url):
            async with Load(url, **{"rate": 300, "connections": 10, **options}) as load:
                await load.until(count, 30)
            return load.report, server

    return asyncio.run(main())


def test_the_rate_is_held_and_half_of_the_connections_are_fresh():
    report, server = load_of(fine, 300, rate=200, connections=20)
    assert report.failures == (), report.summary()
    assert 150 <= report.rate <= 210  # the lower bound is that of a busy machine
    assert report.dropped == 0
    fresh = sum(record.fresh for record in report.records)
    assert abs(fresh - report.total / 2) <= 1
    assert server.connections <= fresh + 20
    assert len(server.requests) == report.total


def test_instances_are_counted_from_headers():
    report, _ = load_of(fine, 100)
    assert report.answered()["web-b"] == report.total // 4
    assert set(report.answered("x-orders-instance")) == {"orders-a", "orders-b"}
    assert {record.instance for record in report.records} == {"web-a", "web-b"}


def test_each_kind_of_request_goes_over_both_kinds_of_connection():
    mix = Mixed((Request("GET", "/items"), Request("POST", "/orders", b'{"item":"tea"}')))
    report, server = load_of(fine, 100, mix=mix)
    assert set(server.requests) == {("GET /items", b""), ("POST /orders", b'{"item":"tea"}')}
    seen = {(record.method, record.fresh) for record in report.records}
    assert seen == {("GET", True), ("GET", False), ("POST", True), ("POST", False)}


async def unwell(number: int, writer: Writer) -> None:
    writer.write(reply(503, b"upstream gone") if number == 30 else reply())


async def resetting(number: int, writer: Writer) -> None:
    if number == 30:
        writer.transport.abort()
    else:
        writer.write(reply())


async def truncating(number: int, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort" if number == 30 else reply())
    if number == 30:
        writer.close()


async def hanging(number: int, writer: Writer) -> None:
    if number != 30:
        writer.write(reply())


async def nonsense(number: int, writer: Writer) -> None:
    writer.write(b"SSH-2.0 hello\r\n\r\n" if number == 30 else reply())


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (unwell, "status 503"),
        (resetting, "closed without an answer"),
        (truncating, "closed within the answer"),
        (hanging, "timeout of 2 s"),
        (nonsense, "malformed answer"),
    ],
)
def test_one_failure_among_many_is_seen_once_and_not_repeated(answer, failure):
    report, server = load_of(answer, 200, timeout=2)
    (failed,) = report.failures
    assert failed.failure is not None
    assert failure in failed.failure
    assert failure in report.summary()
    assert len(server.requests) == report.total


def test_the_body_of_an_unexpected_answer_is_kept():
    report, _ = load_of(unwell, 60)
    assert [failed.detail for failed in report.failures] == ["upstream gone"]


def test_a_status_that_was_expected_is_no_failure():
    mix = Mixed((Request(path="/fail", expect=(503, 200)),))
    report, _ = load_of(unwell, 60, mix=mix)
    assert report.failures == ()


async def saying_close(_number: int, writer: Writer) -> None:
    writer.write(reply(extra="Connection: close\r\n"))


def test_a_connection_that_the_server_says_it_closes_is_reopened():
    report, server = load_of(saying_close, 100)
    assert report.failures == (), report.summary()
    assert server.connections == report.total


async def closing(_number: int, writer: Writer) -> None:
    writer.write(reply())  # and, without a word of it, goodbye
    writer.close()


def test_a_connection_seen_closed_between_requests_is_reopened():
    async def main():
        async with serving(closing) as (server, url):
            connection = Connection("127.0.0.1", int(url.rpartition(":")[2]))
            first = await connection.send(Request(), keep=True)
            await wait_for_end(connection)
            second = await connection.send(Request(), keep=True)
            connection.close()
            return first.status, second.status, server.connections

    assert asyncio.run(main()) == (200, 200, 2)


async def wait_for_end(connection: Connection) -> None:
    """Wait until the client's side has heard of the close."""

    async def heard() -> bool:
        assert connection._streams is not None
        return connection._streams[0].at_eof()

    assert await until(heard, 10)


async def chunked(_number: int, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: v\r\n\r\n")


async def bodiless(number: int, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n" if number % 2 else b"HTTP/1.1 100 Continue\r\n\r\n" + reply())


@pytest.mark.parametrize("answer", [chunked, bodiless])
def test_every_framing_leaves_the_connection_usable(answer):
    report, server = load_of(answer, 60)
    assert report.failures == (), report.summary()
    assert server.connections <= sum(record.fresh for record in report.records) + 10


def test_a_refused_connection_is_a_failure():
    async def main():
        async with serving(fine) as (_, url):
            pass
        async with Load(url, rate=100, connections=5) as load:
            await load.until(10)
        return load.report

    report = asyncio.run(main())
    assert {record.failure for record in report.records} == {"connect: ConnectionRefusedError"}


def test_a_window_holds_what_was_under_way_in_it():
    async def main():
        async with serving(unwell) as (_, url), Load(url, rate=200, connections=10) as load:
            await load.until(100)
            return load.report

    report = asyncio.run(main())
    (failed,) = report.failures
    middle = (failed.start + failed.end) / 2
    assert failed in report.between(middle, middle).records
    assert report.between(failed.end + 0.1, failed.end + 9).failures == ()
    assert report.between(0, failed.start - 0.1).failures == ()
    assert report.between(0, time.monotonic()).total == report.total


def test_a_server_that_stalls_makes_requests_late_and_its_queue_shows_in_the_percentiles():
    gate = asyncio.Event()

    async def stalling(number: int, writer: Writer) -> None:
        if number == 1:
            asyncio.get_running_loop().call_later(1, gate.set)
        await gate.wait()
        writer.write(reply())

    report, server = load_of(stalling, 200, rate=200, connections=4)
    assert report.failures == (), report.summary()
    assert server.most_open <= 2 * 4
    assert report.late > 100
    assert report.percentile(0.99) > 0.7


def test_a_test_that_holds_up_its_loop_does_not_hold_up_the_load():
    async def main():
        stderr = asyncio.subprocess.DEVNULL
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SEPARATE, stdout=asyncio.subprocess.PIPE, stderr=stderr
        )
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(await server.stdout.readline())}"
        async with Load(url, rate=100, connections=10) as load:
            done = time.monotonic() + 1.5
            while time.monotonic() < done:
                sum(range(10_000))
            during = load.report.total
        server.kill()
        await server.wait()
        return load.report, during

    report, during = asyncio.run(main())
    assert report.failures == (), report.summary()
    assert during > 75


SEPARATE = r"""
import asyncio
async def serve(reader, writer):
    while not reader.at_eof():
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def test_a_connection_that_has_ended_is_not_used_though_the_loop_is_behind():
    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(reply())

    async def main(port: int) -> list[int]:
        connection = Connection("127.0.0.1", port)
        answers = [await connection.send(Request(), keep=True)]
        assert connection._streams is not None
        here = connection._streams[1].get_extra_info("socket").fileno()
        assert select.select([here], [], [], 10)[0], "the server has closed it, and this loop has not run since"
        answers.append(await connection.send(Request(), keep=True))
        connection.close()
        return [answer.status for answer in answers]

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,), daemon=True)
        server.start()
        assert asyncio.run(main(listening.getsockname()[1])) == [200, 200]
        server.join(10)


def test_it_ends_by_itself_at_its_limit_and_says_so():
    async def main():
        async with serving(fine) as (_, url), Load(url, rate=100, connections=5, limit=0.5) as load:
            with pytest.raises(LoadEnded, match="of 1000 requests"):
                await load.until(1000, 20)
            return load.report.total

    assert 40 <= asyncio.run(main()) <= 52


def test_requests_in_flight_at_the_end_are_finished_and_counted():
    async def delayed(_number: int, writer: Writer) -> None:
        answered = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, answered.set)
        await answered.wait()
        writer.write(reply())

    report, server = load_of(delayed, 20, rate=100, connections=50)
    assert report.failures == (), report.summary()
    assert report.total == len(server.requests) > 30


def test_only_plain_http_is_taken():
    with pytest.raises(ValueError, match="load takes an http:// URL"):
        Load("https://127.0.0.1:1")
