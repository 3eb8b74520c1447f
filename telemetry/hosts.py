"""Telemetries of two hosts: how one meets the other, and how Prometheus gets the metrics of another host's sidecars.

Both ends are `legation/telemetry` of one trust domain, with certificates that nobody has revoked. Each host's speaks
for all that runs there, as each host's certmgr does.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from legation.mesh import names
from legation.runtime import http
from legation.runtime.control.contexts import Untrusted, own_id, to_component
from legation.runtime.control.server import bind_tcp
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest

LIMIT = 8.0
"""Seconds for one sidecar's metrics: a Prometheus waits ten."""
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

METRICS = ("GET", "/instances/{id}/metrics")
Call = tuple[str, str]
"""A method, and the path of a route."""
Handler = Callable[[Request], Awaitable[Response]]
Where = Callable[[str], tuple[http.Address, str] | None]
"""Where the metrics of an instance are, and their target there; None where that is not for us to ask."""
_END = b"-----END X509 CRL-----"

log = structlog.get_logger()


def to_telemetry(place: str, identity: Latest[Identity | None]) -> http.Secure:
    """Return the address of telemetry at host:port: met with our identity, only if it is that, and not revoked."""
    there = to_component(names.TELEMETRY, place, lambda: identity.value)

    def check(connection: ssl.SSLObject) -> None:
        there.check(connection)
        serial = str((connection.getpeercert() or {}).get("serialNumber", "")).lower()
        if is_revoked(serial, identity.value):
            raise Untrusted(f"{place} shows a certificate that is revoked: {serial}")

    return replace(there, check=check)


async def listen(place: str, identity: Latest[Identity | None], answers: Mapping[Call, Handler]) -> None:
    """Answer telemetry of other hosts, and nobody else, at host:port for ever, once there is an identity.

    OSError where that is taken.
    """
    # Here alone, as it costs 9 MB, and few telemetries have other hosts.
    from legation.runtime.control import remote  # noqa: PLC0415

    sock = bind_tcp(place)
    ours = await _first(identity)

    async def answered(handler: Handler, request: Request) -> Response:
        """Look at each request who asks: a connection may be older than what is revoked."""
        peer = remote.peer_of(request)
        if peer is None or peer.spiffe_id != ours:
            return PlainTextResponse(f"{ours} of another host is answered here, and nobody else\n", 403)
        if is_revoked(peer.serial, identity.value):
            return PlainTextResponse(f"certificate {peer.serial} is revoked\n", 403)
        return await handler(request)

    routes = [Route(path, partial(answered, handler), methods=[method]) for (method, path), handler in answers.items()]
    async with remote.serve(sock, routes, identity):
        log.info("answering telemetry of other hosts", address=place)
        await asyncio.Event().wait()


async def _first(identity: Latest[Identity | None]) -> str:
    """Wait for an identity; return its SPIFFE ID."""
    async for value in identity.watch():
        if value is not None:
            return own_id(value)
    raise AssertionError("a watch never ends")


def is_revoked(serial: str, identity: Identity | None) -> bool:
    """Say whether a certificate is on a list that certmgr shows with our identity."""
    return identity is not None and bool(identity.crl) and serial in _serials(identity.crl)


@lru_cache(1)
def _serials(lists: bytes) -> frozenset[str]:
    from cryptography import x509  # noqa: PLC0415 - as above

    blocks = (block + _END for block in lists.split(_END)[:-1])
    return frozenset(names.serial_text(one.serial_number) for block in blocks for one in x509.load_pem_x509_crl(block))


def metrics_of(where: Where) -> Handler:
    """Return what answers `GET /instances/{id}/metrics`: what runs on a host shows, as it stands there."""

    async def shown(request: Request) -> Response:
        place = where(request.path_params["id"])
        if place is None:
            return PlainTextResponse("nothing of that name is asked from here\n", 404)
        address, target = place
        try:
            answer = await http.request(address, "GET", target, limit=LIMIT)
        except http.HttpError as error:
            return PlainTextResponse(f"{error}\n", 502)
        return Response(answer.body, answer.status, media_type=TEXT_FORMAT)

    return shown
