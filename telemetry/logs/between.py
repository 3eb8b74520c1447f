"""The log between hosts: telemetry of a host sends what it keeps to the one beside xds_server, over mTLS.

Both ends are `legation/telemetry` of one trust domain. Each host's speaks for all that runs there, as each host's
certmgr does; on the way it is OTLP over HTTP, as to any other receiver.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from legation.mesh import names
from legation.runtime.control.contexts import own_id, to_component
from legation.runtime.control.server import bind_tcp
from legation.runtime.http import Secure
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest

LOGS = "/v1/logs"
"""OTLP specification, OTLP/HTTP request."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Peer:
    """Telemetry of another host."""

    url: str
    address: Secure = field(compare=False)

    @classmethod
    def at(cls, place: str, identity: Latest[Identity | None]) -> "Peer":
        """Return the one that listens at host:port, to which an identity shows who we are."""
        return cls(f"https://{place}", to_component(names.TELEMETRY, place, lambda: identity.value))


async def collect(place: str, identity: Latest[Identity | None], take: Callable[[bytes], bool]) -> None:
    """Take the log of other hosts at host:port for ever, once there is an identity; OSError where that is taken.

    `take` gets each batch and says whether it has room: if not, who sent it keeps it for a while.
    """
    # Here alone, as it costs 9 MB, and few telemetries have other hosts.
    from legation.runtime.control import remote  # noqa: PLC0415

    sock = bind_tcp(place)
    ours = await _first(identity)

    async def received(request: Request) -> Response:
        peer = remote.peer_of(request)
        if peer is None or peer.spiffe_id != ours:
            return PlainTextResponse(f"{ours} of another host sends its log here, and nobody else\n", 403)
        return Response(status_code=200 if take(await request.body()) else 429)

    async with remote.serve(sock, [Route(LOGS, received, methods=["POST"])], identity):
        log.info("taking the log of other hosts", address=place)
        await asyncio.Event().wait()


async def _first(identity: Latest[Identity | None]) -> str:
    """Wait for an identity; return its SPIFFE ID."""
    async for value in identity.watch():
        if value is not None:
            return own_id(value)
    raise AssertionError("a watch never ends")
