"""What a client of a control API may cost: how much it sends, how long it takes, how many there are."""

import asyncio

import h11
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

BODY_LIMIT = 16 << 20
"""Bytes of a request: a mesh file of the greatest length takes less."""

REQUEST_LIMIT = 10.0
"""Seconds in which a request has to be there, whole."""

CONNECTION_LIMIT = 512
"""Connections at once: each holds a file descriptor that something else of the service needs."""


def bounded(app: ASGIApp) -> ASGIApp:
    """Return an app that takes no more of a request than `BODY_LIMIT`."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_LIMIT:
                raise HTTPException(413, f"a request has at most {BODY_LIMIT} bytes")
            return message

        await app(scope, counted, send)

    return guarded


class Connection(H11Protocol):
    """A connection that is closed when a request is not there in time, or when there are too many."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTION_LIMIT:
            transport.abort()
        self._await_request()

    def on_response_complete(self) -> None:
        """Await the next request."""
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more."""
        super().connection_lost(exc)
        if self._due is not None:
            self._due.cancel()

    def _await_request(self) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = self.loop.call_later(REQUEST_LIMIT, self._close_unless_whole)

    def _close_unless_whole(self) -> None:
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self.transport.abort()
