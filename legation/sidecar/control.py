"""How an instance reaches xds_server: by a unix socket on its own host, else over mTLS with its service's identity."""

import asyncio
import os
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
    # gRPC holds its threads at each fork otherwise, and now and then ends the child that is to be our Envoy.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # Here alone, as gRPC costs more memory than all of an instance that is beside its xds_server.
    from legation.runtime.control.contexts import shown, to_xds_server  # noqa: PLC0415
    from legation.runtime.identity import Identity, follow  # noqa: PLC0415

    identity: Latest[Identity | None] = Latest(None)
    following = asyncio.ensure_future(follow(settings.sds_socket, settings.spec.id, identity, shown))
    host, _, port = settings.control.rpartition(":")
    try:
        yield ControlClient(to_xds_server(host, int(port), lambda: identity.value))
    finally:
        following.cancel()
