"""The gRPC server: where it listens, how it is secured, how it stops."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from xds_server.protocol.types import Limits
from xds_server.serve.credentials import server_credentials
from xds_server.serve.hds import HealthSource, health_discovery
from xds_server.serve.servicers import discovery
from xds_server.serve.session import Streams
from xds_server.serve.stream import Source

OPTIONS = (
    # two servers on one port would share its connections in silence
    ("grpc.so_reuseport", 0),
    # with their defaults, some of thousands of streams that open together are cancelled
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    # a dead host sends no FIN
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", -1),
)
AGE_GRACE_MS = 1_000
"""How long streams live on after their connection has reached its age."""
CLEAN_UP_LIMIT = 5.0
"""Seconds in which cancelled streams have to let go."""
_DEFAULT_LIMITS = Limits()


@asynccontextmanager
async def serve(
    source: Source,
    *,
    address: str | Path,
    identity: Latest[Identity | None] | None = None,
    health: HealthSource | None = None,
    limits: Limits = _DEFAULT_LIMITS,
    connection_age: float | None = None,
    grace: float = 2.0,
) -> AsyncIterator[str]:
    """Serve discovery while the block runs; yields the address, `host:port` with the real port or `unix:PATH`.

    `address` is `host:port`, or the path of a unix socket, which only its owner can open. Without
    an identity it is plaintext: on a unix socket, or on loopback for benchmarks. `connection_age`
    (seconds, ±10 % by grpc) should be below the certificates' life, as a connection keeps the
    identity it began with. At the end streams get UNAVAILABLE, spread over `grace` seconds.
    OSError when the address cannot be listened on or another process serves it.
    """
    age = [] if connection_age is None else _age(connection_age)
    server = grpc.aio.server(options=[*OPTIONS, *age])
    streams = Streams()
    server.add_generic_rpc_handlers(discovery(source, streams, limits))
    if health is not None:
        server.add_generic_rpc_handlers((health_discovery(health, streams),))
    credentials = None if identity is None else server_credentials(identity)
    bound = _listen_unix(server, address) if isinstance(address, Path) else _listen_tcp(server, address, credentials)
    await server.start()
    try:
        yield bound
    finally:
        streams.stop(grace * 0.8)
        await server.stop(grace)
        # grpc cancels what is left after the grace, but does not wait for it
        await streams.none(CLEAN_UP_LIMIT)


def _age(seconds: float) -> list[tuple[str, int]]:
    return [("grpc.max_connection_age_ms", int(seconds * 1000)), ("grpc.max_connection_age_grace_ms", AGE_GRACE_MS)]


def _listen_unix(server: grpc.aio.Server, path: Path) -> str:
    """Listen on a unix socket with mode 0600, in place of a dead one."""
    with socket.socket(socket.AF_UNIX) as probe:
        if path.is_socket() and probe.connect_ex(str(path)) == 0:
            raise OSError(f"{path} is served by another process")
    before = os.umask(0o177)
    try:
        _add(server, f"unix:{path}", None)
    finally:
        os.umask(before)
    return f"unix:{path}"


def _listen_tcp(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    """Listen on host:port; without credentials on loopback alone."""
    host, _, _ = address.rpartition(":")
    if credentials is None and not (host.startswith("127.") or host == "[::1]"):
        raise ValueError(f"{address} without an identity: plaintext is served on a unix socket or loopback alone")
    return f"{host}:{_add(server, address, credentials)}"


def _add(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Bind; OSError when that fails."""
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
