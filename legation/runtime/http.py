"""A small HTTP/1.1 client over h11, for control APIs and Envoy's admin interface: one connection a request.

A kept connection may be closed by the server just as a request, a drain's say, is sent. Light on
purpose: every `legation run` holds it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import h11

_JSON: Mapping[str, str] = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Secure:
    """A host and its port behind TLS: with what to meet it, asked at each connection, and whether it is who we mean."""

    host: str
    port: int
    context: Callable[[], ssl.SSLContext]
    check: Callable[[ssl.SSLObject], None]
    """Raises OSError when it is not."""
    name: str | None = None
    """By which name it is asked for (RFC 6066 §3), where that is not its host."""


Address = Path | tuple[str, int] | Secure
"""A unix socket, a host and its port, or the same behind TLS."""


def split(url: str, context: Callable[[], ssl.SSLContext]) -> tuple[Address, str]:
    """Return where an http or https URL leads, and its target there; the latter's server is met with `context`."""
    parts = urlsplit(url)
    host, target = parts.hostname or "", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return (host, parts.port or 80), target
    return Secure(host, parts.port or 443, context, lambda _: None), target


class HttpError(Exception):
    """A server that does not answer, not in time, or not in HTTP; the text is the reason."""


class NotThere(HttpError):
    """Nobody listens: whoever did has ended, or has not begun yet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")


async def request(
    address: Address,
    method: str,
    target: str,
    *,
    query: dict[str, str] | None = None,
    body: bytes = b"",
    headers: Mapping[str, str] = _JSON,
    limit: float,
) -> Answer:
    """Return the answer to a request; HttpError when it is not whole within `limit` seconds.

    `headers` are in lower case; those of JSON go with a body alone.
    """
    path = f"{target}?{urlencode(query)}" if query else target
    with _errors(address):
        async with asyncio.timeout(limit), _exchange(address, method, path, body, headers=headers) as (status, chunks):
            return Answer(status, b"".join([chunk async for chunk in chunks]))


async def lines(address: Address, target: str, *, limit: float) -> AsyncGenerator[str, None]:
    """Yield the lines of a response that need not end; HttpError after `limit` seconds of silence, or not 200."""
    with _errors(address):
        async with _exchange(address, "GET", target, b"", limit) as (status, chunks):
            rest = b""
            async for chunk in chunks:
                if status != 200:
                    raise HttpError(f"{_name(address)} answers {status}: {chunk.decode(errors='replace')}")
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode().rstrip("\r")


@asynccontextmanager
async def _exchange(
    address: Address,
    method: str,
    target: str,
    body: bytes,
    quiet: float | None = None,
    headers: Mapping[str, str] = _JSON,
) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    """Send a request; give its status and its body, as it comes."""
    reader, writer = await _connect(address, quiet)
    connection = h11.Connection(h11.CLIENT)
    try:
        fixed = {"host": "legation", "connection": "close", "content-length": str(len(body))}
        head = [*({**fixed, **headers} if body or headers is not _JSON else fixed).items()]
        for event in (h11.Request(method=method, target=target, headers=head), h11.Data(body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        events = _events(connection, reader, quiet)
        answer = await anext(events)
        if not isinstance(answer, h11.Response):
            raise HttpError(f"{_name(address)} closes without an answer")
        yield answer.status_code, (bytes(event.data) async for event in events if isinstance(event, h11.Data))
    finally:
        writer.close()


async def _connect(address: Address, limit: float | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(limit):
        if isinstance(address, Path):
            return await asyncio.open_unix_connection(str(address))
        if isinstance(address, Secure):
            return await _connect_securely(address)
        return await asyncio.open_connection(*address)


async def _connect_securely(address: Secure) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=address.context(), server_hostname=address.name
    )
    try:
        address.check(writer.get_extra_info("ssl_object"))
    except OSError:
        writer.close()
        raise
    return reader, writer


async def _events(
    connection: h11.Connection, reader: asyncio.StreamReader, quiet: float | None
) -> AsyncIterator[h11.Event]:
    """Yield a response's events to its end; TimeoutError after `quiet` seconds of silence."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(quiet):
                connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.InformationalResponse):
            continue
        elif isinstance(event, h11.Event):
            yield event
            if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return
        else:
            return


@contextlib.contextmanager
def _errors(address: Address) -> Iterator[None]:
    """Say every way in which a server can fail as HttpError."""
    try:
        yield
    except TimeoutError as error:
        raise HttpError(f"{_name(address)} does not answer (timeout)") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotThere(f"{_name(address)} does not answer ({_reason(address, error)})") from error
    except (OSError, h11.RemoteProtocolError, StopAsyncIteration) as error:
        raise HttpError(f"{_name(address)} does not answer ({_reason(address, error)})") from error


def _reason(address: Address, error: Exception) -> str:
    return str(error) if isinstance(address, Secure) and str(error) else type(error).__name__


def _name(address: Address) -> str:
    if isinstance(address, Secure):
        return f"{address.host}:{address.port}"
    return str(address) if isinstance(address, Path) else f"{address[0]}:{address[1]}"
