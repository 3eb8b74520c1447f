"""Both ends of the control API: JSON over HTTP on a unix socket that only its owner can open."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import httpx
import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from legation.runtime.tasks import Latest, until_set

M = TypeVar("M", bound=BaseModel)

_stopping: ContextVar[asyncio.Event] = ContextVar("stopping")
"""Set when the server of the request in hand ends: streams of events would hold it up for ever."""


class ControlError(Exception):
    """A control API that answered with an error, or (status 0) not at all."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the HTTP status (0: unreachable) and what was said."""
        self.status, self.text = status, text
        super().__init__(f"{status}: {text}" if status else text)


def reply(message: BaseModel, status: int = 200) -> Response:
    """Return a message of the schema as a response."""
    return Response(message.model_dump_json(by_alias=True), status, media_type="application/json")


def events(latest: Latest[M]) -> StreamingResponse:
    """Return a stream of server-sent events: the value now, then each newer one (WHATWG HTML §9.2)."""

    async def stream() -> AsyncIterator[str]:
        async for value in until_set(latest.watch(), _stopping.get()):
            yield f"data: {value.model_dump_json(by_alias=True)}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


def bind_unix(path: Path) -> socket.socket:
    """Return a listening unix socket with mode 0600; a dead one in its place is replaced, a live one is an error."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
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
    """Return a listening socket for `host:port`, for what Prometheus reads; port 0 takes a free one."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family)


@asynccontextmanager
async def serve(sockets: Sequence[socket.socket], routes: Sequence[BaseRoute]) -> AsyncIterator[None]:
    """Serve routes on sockets (unix or TCP) while the block runs."""
    config = uvicorn.Config(
        Starlette(routes=list(routes)), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    stopping = asyncio.Event()
    _stopping.set(stopping)
    task = asyncio.ensure_future(server.serve(sockets=list(sockets)))
    try:
        await asyncio.wait_for(server.up.wait(), timeout=10)
        yield
    finally:
        stopping.set()
        server.should_exit = True
        await asyncio.wait([task], timeout=5)
        for sock in sockets:
            sock.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers (the service has its own), and with word of when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Prepare the server."""
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.up.set()


def unix_client(path: Path | str, limit: float) -> httpx.AsyncClient:
    """Return an HTTP client for a unix socket.

    Without TLS settings, which cost more to load than a request, and without the environment's proxies.
    A connection a request: a kept one may be closed by the server just as a request, a drain's word say, is sent.
    """
    transport = httpx.AsyncHTTPTransport(uds=str(path), verify=False, limits=httpx.Limits(max_keepalive_connections=0))
    return httpx.AsyncClient(transport=transport, base_url="http://legation", timeout=limit, trust_env=False)


class ControlClient:
    """Asks one service's control API; each call has its own limit."""

    def __init__(self, path: Path, limit: float = 10.0) -> None:
        """Talk to the service behind a unix socket."""
        self._path = path
        self._http = unix_client(path, limit)

    async def get(self, path: str, answer: type[M], limit: float | None = None) -> M:
        """Return what `GET path` says; ControlError when it does not."""
        return answer.model_validate_json((await self._ask("GET", path, None, limit)).content)

    async def send(
        self, method: str, path: str, body: BaseModel | None, answer: type[M], limit: float | None = None
    ) -> M:
        """Send a message and return the answer; ControlError when it is refused."""
        return answer.model_validate_json((await self._ask(method, path, body, limit)).content)

    async def _ask(self, method: str, path: str, body: BaseModel | None, limit: float | None) -> httpx.Response:
        content = body.model_dump_json(by_alias=True) if body is not None else None
        timeout = httpx.Timeout(limit) if limit is not None else httpx.USE_CLIENT_DEFAULT
        try:
            response = await self._http.request(
                method, path, content=content, timeout=timeout, headers={"content-type": "application/json"}
            )
        except httpx.HTTPError as error:
            raise ControlError(0, f"{self._path} does not answer ({type(error).__name__})") from error
        if response.status_code >= 400 and response.status_code != 422:
            raise ControlError(response.status_code, response.text)
        return response

    async def watch(self, path: str, event: type[M]) -> AsyncIterator[M]:
        """Yield the events of a watch until it ends; ControlError when it cannot be opened or breaks."""
        try:
            async with self._http.stream("GET", path, timeout=httpx.Timeout(10, read=None)) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        yield event.model_validate_json(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            raise ControlError(0, f"{self._path} does not answer ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
