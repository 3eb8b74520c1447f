"""How an instance reaches xds_server: by a unix socket on its own host, else over mTLS with its service's identity."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from legation.runtime.control.client import ControlClient
from legation.runtime.tasks import Latest
from legation.sidecar.settings import RunSettings


@asynccontextmanager
async def xds_server(settings: RunSettings) -> AsyncIterator[ControlClient]:
    """Give a client of xds_server's control API while the block runs."""
    if not settings.control:
        yield ControlClient(settings.state.control("xds_server"))
        return
    # Here alone, as an instance beside its xds_server needs neither HTTP/2 nor an identity of its own.
    from legation.runtime.control.contexts import shown, to_xds_server  # noqa: PLC0415
    from legation.runtime.identity import Identity, follow  # noqa: PLC0415

    identity: Latest[Identity | None] = Latest(None)
    following = asyncio.ensure_future(follow(settings.sds_socket, settings.spec.id, identity, shown))
    try:
        yield ControlClient(to_xds_server(settings.control, lambda: identity.value))
    finally:
        following.cancel()
