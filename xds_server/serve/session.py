"""How a stream begins and ends, whatever is said on it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import grpc
import structlog
from envoy.config.core.v3 import base_pb2

from legation.runtime.identity import serial_of
from legation.runtime.tasks import spawn
from xds_server.protocol.types import LimitExceeded, UnknownType
from xds_server.serve.codec import Malformed, metadata
from xds_server.serve.credentials import peer_certificate, peer_spiffe_id
from xds_server.serve.followers import Followers
from xds_server.serve.info import StreamInfo

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[Any, Context], Awaitable[None]]

FIRST_REQUEST_LIMIT = 10.0
"""Seconds in which a new stream has to say who it is."""
WRITE_LIMIT = 5.0
"""Seconds in which the last response has to be taken by a client whose stream ends."""

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
    """All open streams of a server, so that each can be ended, and the server stop with none left."""

    def __init__(self) -> None:
        """Start as a server that goes on, without a stream."""
        self.followers = Followers()
        self._spread: float | None = None
        self._lives: dict[asyncio.Future[None], StreamInfo] = {}
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

    @contextmanager
    def life(self, info: StreamInfo) -> Iterator[asyncio.Future[None]]:
        """Yield what fails with an End when the stream is over: by itself, or by `stop`, `end` or its certificate."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lives[over] = info
        expiry = None if info.expires is None else _later(info.expires.timestamp() - time.time(), over, _EXPIRED)
        if self._spread is not None:
            self._stop_soon(over)
        try:
            yield over
        finally:
            del self._lives[over]
            if over.done() and not over.cancelled() and isinstance(end := over.exception(), End):
                _let_go(end)
            over.cancel()
            if expiry is not None:
                expiry.cancel()

    def end(self, which: Callable[[StreamInfo], bool], reason: str) -> int:
        """End streams whose clients may not have them any more; return how many."""
        ended = [over for over, info in self._lives.items() if which(info)]
        for over in ended:
            fail(over, End(grpc.StatusCode.PERMISSION_DENIED, reason))
        return len(ended)

    def stop(self, spread: float) -> None:
        """Have each stream end at its own moment of so many seconds, so that clients do not return as a herd."""
        self._spread = spread
        for over in self._lives:
            self._stop_soon(over)

    def _stop_soon(self, over: asyncio.Future[None]) -> None:
        _later(random.uniform(0, self._spread or 0), over, _STOPPING)  # noqa: S311 - no secret

    async def none(self, limit: float) -> None:
        """Wait until all have ended; TimeoutError when one does not."""
        async with asyncio.timeout(limit):
            await self._none.wait()


_EXPIRED = End(grpc.StatusCode.UNAUTHENTICATED, "the client's certificate has expired: connect with its successor")
_STOPPING = End(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


def fail(over: asyncio.Future[None], error: Exception) -> None:
    """Have a stream be over, unless it is already."""
    if not over.done():
        over.set_exception(error)


def _later(seconds: float, over: asyncio.Future[None], end: End) -> asyncio.TimerHandle:
    # each stream's traceback is its own, so each has an error of its own
    return asyncio.get_running_loop().call_later(seconds, lambda: fail(over, End(end.code, end.details)))


class Writer:
    """What a stream writes with. A write is never given up half-way: grpc.aio would not send a status after that."""

    def __init__(self, context: Context) -> None:
        """Write to a stream."""
        self._context = context
        self._over = False
        self._writing = False
        self._written: asyncio.Future[None] | None = None
        """What waits for the end of the last write, once there is such; an Event a stream would weigh a kilobyte."""

    async def write(self, data: bytes) -> None:
        """Write a message; End when the stream is over."""
        if self._over:
            raise End(grpc.StatusCode.OK)
        self._writing = True
        try:
            await self._context.write(data)
        finally:
            self._writing = False
            if self._written is not None and not self._written.done():
                self._written.set_result(None)

    async def finish(self, limit: float) -> None:
        """Begin no other write, and wait for the end of the one that goes on, where it comes in time."""
        self._over = True
        if not self._writing:
            return
        self._written = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._written


def handler(converse: Callable[[Context], Awaitable[None]]) -> Handler:
    """Return a gRPC handler that ends with the status that the conversation's end calls for."""

    async def handle(_: object, context: Context) -> None:
        try:
            await converse(context)
        except asyncio.CancelledError as cancelled:
            _let_go(cancelled)
            raise
        except Exception as error:  # noqa: BLE001 - a stream's root: whatever happens ends this stream alone
            end = _end(error)
            _let_go(error)
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
    certificate = peer_certificate(proven)
    return StreamInfo(
        service,
        node.id,
        metadata(node),
        peer_spiffe_id(proven),
        None if certificate is None else serial_of(certificate),
        node.cluster,
        frozenset(node.client_features),
        None if certificate is None else certificate.not_valid_after_utc,
        _one_of_a_kind(frozenset(one.name for one in node.extensions if not one.disabled)),
        _version(node),
    )


@lru_cache(maxsize=64)
def _one_of_a_kind(extensions: frozenset[str]) -> frozenset[str]:
    """Return the same set for all Envoys of one build: each has some hundred."""
    return extensions


def _version(node: base_pb2.Node) -> tuple[int, int] | None:
    said = node.user_agent_build_version.version
    return (said.major_number, said.minor_number) if said.major_number else None


async def run(streams: Streams, info: StreamInfo, writer: Writer, **works: Coroutine[Any, Any, None]) -> None:
    """Run a stream's tasks, by name, until one of them, the server or the client's certificate ends it."""

    async def work_on(over: asyncio.Future[None], work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError as cancelled:
            _let_go(cancelled)
            raise
        except Exception as error:  # noqa: BLE001 - whatever ends one task ends the stream, in the order below
            fail(over, error)

    with streams.life(info) as over:
        async with asyncio.TaskGroup() as group:
            for name, work in works.items():
                spawn(group, name, work_on(over, work))
            try:
                await over
            except Exception:
                await writer.finish(WRITE_LIMIT)
                raise


_CODES: Mapping[type[Exception], grpc.StatusCode] = {
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnknownType: grpc.StatusCode.INVALID_ARGUMENT,
    Rejected: grpc.StatusCode.PERMISSION_DENIED,
}


def _let_go(error: BaseException) -> None:
    """Break the cycles of a stream that is over: its errors hold its frames, and those hold its errors.

    Else all that a stream had stays until the garbage collector looks at what is old, which is seldom.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _let_go(inner)


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
