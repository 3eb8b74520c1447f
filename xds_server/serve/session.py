"""How a stream begins and ends, whatever is said on it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from envoy.config.core.v3 import base_pb2

from legation.runtime.tasks import pause, spawn
from xds_server.protocol.difference import Differences
from xds_server.protocol.types import LimitExceeded, UnknownType
from xds_server.serve.codec import Malformed, metadata
from xds_server.serve.credentials import peer_serial, peer_spiffe_id
from xds_server.serve.followers import Followers
from xds_server.serve.info import StreamInfo

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[Any, Context], Awaitable[None]]

FIRST_REQUEST_LIMIT = 10.0
"""Seconds in which a new stream has to say who it is."""

log = structlog.get_logger(__name__)


class Rejected(Exception):
    """The consumer does not admit a stream; the text is the reason that the client gets."""


class End(Exception):
    """A stream is over: with a status for the client, OK when the client itself left."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        """Keep the status."""
        self.code, self.details = code, details
        super().__init__(f"{code.name}: {details}")


class Streams:
    """All open streams of a server, so that it can stop with none left."""

    def __init__(self) -> None:
        """Start as a server that goes on, without a stream."""
        self.differences = Differences()
        self.followers = Followers()
        self._stopping = asyncio.Event()
        self._spread = 0.0
        self._open = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a stream while the block runs."""
        self._open += 1
        self._none.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._none.set()

    def stop(self, spread: float) -> None:
        """Have each stream end at its own moment of so many seconds, so that clients do not return as a herd."""
        self._spread = spread
        self._stopping.set()

    async def stopping(self) -> None:
        """Wait for a stream's own moment to end."""
        await self._stopping.wait()
        await pause(random.uniform(0, self._spread))  # noqa: S311 - no secret

    async def none(self, limit: float) -> None:
        """Wait until all have ended; TimeoutError when one does not."""
        async with asyncio.timeout(limit):
            await self._none.wait()


def handler(converse: Callable[[Context], Awaitable[None]]) -> Handler:
    """Return a gRPC handler that ends with the status that the conversation's end calls for."""

    async def handle(_: object, context: Context) -> None:
        try:
            await converse(context)
        except Exception as error:  # noqa: BLE001 - a stream's root: whatever happens ends this stream alone
            end = _end(error)
            if end.code is not grpc.StatusCode.OK:
                await context.abort(end.code, end.details)

    return handle


async def read(context: Context) -> bytes:
    """Return the next message; End when the client says no more."""
    data = await context.read()
    if isinstance(data, bytes):
        return data
    raise End(grpc.StatusCode.OK)


async def first(context: Context) -> bytes:
    """Return a stream's first message; End when it does not come in time."""
    try:
        async with asyncio.timeout(FIRST_REQUEST_LIMIT):
            return await read(context)
    except TimeoutError:
        raise End(
            grpc.StatusCode.DEADLINE_EXCEEDED, f"no request came in the stream's first {FIRST_REQUEST_LIMIT:.0f} s"
        ) from None


def stream_info(context: Context, service: str, node: base_pb2.Node) -> StreamInfo:
    """Return who opens the stream; Malformed without a node id."""
    if not node.id:
        raise Malformed("node.id is empty: the first request of a stream needs it")
    proven = context.auth_context()
    return StreamInfo(
        service,
        node.id,
        metadata(node),
        peer_spiffe_id(proven),
        peer_serial(proven),
        node.cluster,
        frozenset(node.client_features),
    )


async def run(streams: Streams, **works: Coroutine[Any, Any, None]) -> None:
    """Run a stream's tasks, by name, until one of them, or the server, ends it."""
    async with asyncio.TaskGroup() as group:
        for name, work in works.items():
            spawn(group, name, work)
        await streams.stopping()
        raise End(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


_CODES: Mapping[type[Exception], grpc.StatusCode] = {
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnknownType: grpc.StatusCode.INVALID_ARGUMENT,
    Rejected: grpc.StatusCode.PERMISSION_DENIED,
}


def _end(error: Exception) -> End:
    """Return the end that an error means."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, End):
        return error
    if isinstance(error, grpc.aio.BaseError):  # the connection is gone, and with it whoever could be told
        return End(grpc.StatusCode.OK)
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return End(code, str(error))
    log.error("stream broke", exc_info=error)
    return End(grpc.StatusCode.INTERNAL, "internal error")
