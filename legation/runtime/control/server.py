"""The serving end of the control API: JSON over HTTP on a unix socket that only its owner can open."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from legation.runtime import host_port
from legation.runtime.control.guard import Connection, bounded
from legation.runtime.control.messages import Message
from legation.runtime.tasks import Latest, until_set
from legation.runtime.unix_socket import is_served

M = TypeVar("M", bound=Message)

HEARTBEAT = 5.0
"""Seconds of silence after which a watch gets a comment: a client tells a quiet server from a hung one."""

HANDSHAKE_LIMIT = 5.0
"""Seconds that a TLS handshake may take."""

_stopping: ContextVar[asyncio.Event] = ContextVar("stopping")
"""Set when the server of the request in hand ends: streams of events would hold it up for ever."""


def reply(message: Message, status: int = 200) -> Response:
    """Return a message of the schema as a response."""
    return Response(msgspec.json.encode(message), status, media_type="application/json")


def events(latest: Latest[M]) -> StreamingResponse:
    """Return a stream of server-sent events: the value now, then each newer one (WHATWG HTML §9.2)."""

    async def stream() -> AsyncIterator[bytes]:
        async for value in until_set(latest.watch(), _stopping.get(), HEARTBEAT):
            yield b": heartbeat\n\n" if value is None else b"data: %b\n\n" % msgspec.json.encode(value)

    return StreamingResponse(stream(), media_type="text/event-stream")


def bind_unix(path: Path) -> socket.socket:
    """Return a listening unix socket with mode 0600; a dead one in its place is replaced, a live one is an error."""
    if path.is_socket():
        if is_served(path):
            raise OSError(f"{path} is served by another process")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    sock.listen(128)
    return sock


def bind_tcp(address: str) -> socket.socket:
    """Return a listening socket for `host:port`; port 0 takes a free one. ValueError where it is none."""
    host, port = host_port.split(address, listens=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def _malformed(_: Request, error: Exception) -> Response:
    """Answer what is no message of the schema."""
    return Response(str(error), 400, media_type="text/plain")


async def _left(_: Request, __: Exception) -> Response:
    """Answer nobody: the client has left before all of its request was there."""
    return Response(status_code=400)


_ON_ERROR = {msgspec.MsgspecError: _malformed, ClientDisconnect: _left}


@asynccontextmanager
async def serve(sockets: Sequence[socket.socket], routes: Sequence[BaseRoute]) -> AsyncIterator[None]:
    """Serve routes on sockets (unix or TCP) while the block runs."""
    async with running(sockets, routes):
        yield


@asynccontextmanager
async def running(
    sockets: Sequence[socket.socket],
    routes: Sequence[BaseRoute],
    *,
    tls: ssl.SSLContext | None = None,
    protocol: type[Connection] = Connection,
) -> AsyncIterator[None]:
    """Run a server while the block runs; `protocol` is what each of its connections is."""
    config = uvicorn.Config(
        bounded(Starlette(routes=list(routes), exception_handlers=_ON_ERROR)),
        http=protocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, tls)
    stopping = asyncio.Event()
    _stopping.set(stopping)
    task = asyncio.ensure_future(server.serve(sockets=list(sockets)))
    try:
        await asyncio.wait_for(server.up.wait(), timeout=10)
        yield
    finally:
        stopping.set()
        server.ended.set()
        await asyncio.wait([task], timeout=5)
        for sock in sockets:
            sock.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers (the service has its own), with word of when it has started, idle at rest."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        """Prepare the server."""
        super().__init__(config)
        self._tls = tls
        self.up, self.ended = asyncio.Event(), asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn's own loop looks for a flag, and at the date, ten times a second."""
        await self.on_tick(0)
        await self.ended.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        if self._tls is None:
            await super().startup(sockets)
        else:
            await self._start_securely(sockets or [], self._tls)
        self.up.set()

    async def _start_securely(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext) -> None:
        """Start as uvicorn does, but wait for no handshake for a minute."""
        await self.lifespan.startup()
        listen = asyncio.get_running_loop().create_server
        self.servers = [
            await listen(self._connection, sock=sock, ssl=tls, ssl_handshake_timeout=HANDSHAKE_LIMIT)
            for sock in sockets
        ]
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return cast("asyncio.Protocol", made)
