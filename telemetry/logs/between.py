"""The log between hosts: telemetry of a host sends what it keeps to the one beside xds_server, over mTLS.

On the way it is OTLP over HTTP, as to any other receiver.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from legation.runtime.http import Secure
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from telemetry.hosts import Handler, to_telemetry

LOGS = "/v1/logs"
"""OTLP specification, OTLP/HTTP request."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Telemetry of another host."""

    url: str
    address: Secure = field(compare=False)

    @classmethod
    def at(cls, place: str, identity: Latest[Identity | None]) -> "Peer":
        """Return the one that listens at host:port, to which an identity shows who we are."""
        return cls(f"https://{place}", to_telemetry(place, identity))


def intake(take: Callable[[bytes], bool]) -> Handler:
    """Return what takes other hosts' log.

    `take` gets each batch and says whether it has room: if not, who sent it keeps it for a while.
    """

    async def received(request: Request) -> Response:
        return Response(status_code=200 if take(await request.body()) else 429)

    return received
