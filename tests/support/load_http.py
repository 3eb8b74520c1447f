"""An HTTP/1.1 client that hides nothing: no retry, no redirect, every transport error is the caller's to see."""

import asyncio
import select
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.load_report import Request

LIMIT = 1 << 20


class NoAnswer(Exception):
    """A request that got no whole answer; the text says how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One connection, opened when it is first needed and again after its end."""

    def __init__(self, host: str, port: int) -> None:
        """Keep where to connect to."""
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: Request, *, keep: bool) -> Answer:
        """Make a request; NoAnswer for whatever goes wrong below HTTP.

        A server may close an idle connection at any time (RFC 9112 §9.5); one that is seen
        closed before the request is sent is replaced. Once sent, a close is a failure.
        """
        reader, writer = await self._open()
        try:
            writer.write(_encoded(request, f"{self._host}:{self._port}", keep))
            await writer.drain()
            answer = await _answer(reader, request.method)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise NoAnswer(_kind(error)) from error
        except asyncio.CancelledError:
            self.close()
            raise
        if not keep or answer.headers.get("connection", "").lower() == "close" or _until_close(answer, request.method):
            self.close()
        return answer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the open connection, or a new one."""
        if self._streams is not None:
            reader, writer = self._streams
            if not (reader.at_eof() or reader.exception() or writer.is_closing() or _has_news(writer)):
                return self._streams
            self.close()
        try:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=LIMIT)
        except OSError as error:
            raise NoAnswer(f"connect: {type(error).__name__}") from error
        return self._streams

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _has_news(writer: asyncio.StreamWriter) -> bool:
    """Say whether something has come on an idle connection: its end, that a loop which is behind has not seen yet."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
    return bool(poll.poll(0))


def _kind(error: Exception) -> str:
    """Say in a word how a connection failed."""
    match error:
        case asyncio.IncompleteReadError(partial=b""):
            return "closed without an answer"
        case asyncio.IncompleteReadError():
            return "closed within the answer"
        case ConnectionError():
            return f"reset: {type(error).__name__}"
        case _:
            return f"malformed answer: {error}"


def _encoded(request: Request, host: str, keep: bool) -> bytes:
    """Return a request as it is sent."""
    headers = {"host": host, **request.headers}
    if request.body or request.method in {"POST", "PUT", "PATCH"}:
        headers["content-length"] = str(len(request.body))
    if not keep:
        headers["connection"] = "close"
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + request.body


async def _answer(reader: asyncio.StreamReader, method: str) -> Answer:
    """Read one answer, past any interim ones (1xx)."""
    while True:
        status_line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, _, rest = status_line.partition(" ")
        if version not in {"HTTP/1.1", "HTTP/1.0"}:
            raise ValueError(f"status line {status_line!r}")
        status = int(rest[:3])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        if status >= 200:
            return Answer(status, headers, await _body(reader, method, status, headers))


async def _body(reader: asyncio.StreamReader, method: str, status: int, headers: Mapping[str, str]) -> bytes:
    """Read a body as RFC 9112 §6.3 says how long it is."""
    if method == "HEAD" or status in {204, 304}:
        return b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a chunked body (RFC 9112 §7.1) and its trailers."""
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


def _until_close(answer: Answer, method: str) -> bool:
    """Say whether the end of the connection was the end of the body."""
    framed = "content-length" in answer.headers or "transfer-encoding" in answer.headers
    return not framed and method != "HEAD" and answer.status not in {204, 304}
