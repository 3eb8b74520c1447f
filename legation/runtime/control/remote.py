"""The serving end of the control API over mTLS: bounded for each peer too, and it knows who asks."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from starlette.requests import Request
from starlette.routing import BaseRoute

from legation.runtime.control.contexts import Untrusted
from legation.runtime.control.guard import Connection
from legation.runtime.control.mtls import Peer, server_context
from legation.runtime.control.server import running
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest

CONNECTIONS_EACH = 128
"""Open connections with one certificate: whoever has one service's key cannot shut out the others."""

log = structlog.get_logger(__name__)


def peer_of(request: Request) -> Peer | None:
    """Return who asks over mTLS; None on a unix socket, which only its owner can open."""
    found = getattr(request.state, "peer", None)
    return found if isinstance(found, Peer) else None


@asynccontextmanager
async def serve(
    sock: socket.socket, routes: Sequence[BaseRoute], identity: Latest[Identity | None]
) -> AsyncIterator[None]:
    """Serve routes over mTLS on a TCP socket while the block runs; the identity must be there, and may change."""
    async with running([sock], routes, tls=server_context(identity), protocol=_Secured):
        yield


class _Secured(Connection):
    """One connection after its handshake: whose it is goes into each request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection, unless nobody is behind it or its peer has too many."""
        super().connection_made(transport)
        try:
            peer = Peer.of(transport.get_extra_info("ssl_object"))
        except Untrusted as error:
            log.warning("connection refused", reason=str(error))
            transport.abort()
            return
        if sum(getattr(other, "app_state", {}).get("peer") == peer for other in self.connections) >= CONNECTIONS_EACH:
            log.warning("connection refused", reason=f"more than {CONNECTIONS_EACH}", peer=peer.spiffe_id)
            transport.abort()
            return
        self.app_state = {**self.app_state, "peer": peer}
