"""The gRPC server: where it listens, how it is secured, how it stops."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from legation.runtime import host_port
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from legation.runtime.unix_grpc import listen_unix
from xds_server.protocol.types import Limits
from xds_server.serve.credentials import server_credentials
from xds_server.serve.followers import Unsynced
from xds_server.serve.hds import HealthSource, health_discovery
from xds_server.serve.info import StreamInfo
from xds_server.serve.report import OnAck, OnNack, Reporting
from xds_server.serve.servicers import discovery
from xds_server.serve.session import Streams
from xds_server.serve.stream import Source

OPTIONS = (
    # two servers on one port would share its connections in silence
    ("grpc.so_reuseport", 0),
    # with their defaults, some of thousands of streams that open together are cancelled
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    # a dead host sends no FIN, and a hung client answers nothing: each ping has its own limit too, 60 s by default
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # whoever connects and says nothing holds a file descriptor: two minutes by default
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", -1),
)
AGE_GRACE_MS = 1_000
"""How long streams live on after their connection has reached its age."""
CLEAN_UP_LIMIT = 5.0
"""Seconds in which cancelled streams have to let go."""
_DEFAULT_LIMITS = Limits()


class Server:
    """A server while it serves."""

    def __init__(self, address: str, streams: Streams) -> None:
        """Speak for the streams that are served at an address."""
        self.address = address
        """`host:port` with the real port, or `unix:PATH`: what a client dials."""
        self._streams = streams

    async def converged(self, timeout: float) -> None:  # noqa: ASYNC109 - who waits has to say how long
        """Wait until each connected client has what it should, ACKed.

        NotConverged names those that have not, and why: after `timeout` seconds, or as soon as all have
        answered and some of that is a NACK. Clients that are not connected are not waited for.
        """
        await self._streams.followers.converged(timeout)

    def nodes(self) -> frozenset[str]:
        """Return the ids of the nodes that have a stream now."""
        return self._streams.followers.nodes()

    def end(self, which: Callable[[StreamInfo], bool], reason: str) -> int:
        """End the streams of which this holds, with PERMISSION_DENIED and the reason; return how many.

        For clients that may not have a stream any more, as their certificate was revoked, say: a stream
        ends by itself when its certificate expires. A client may come back; it is the source's to reject it.
        """
        return self._streams.end(which, reason)

    def unsynced(self) -> tuple[Unsynced, ...]:
        """Return the streams whose clients do not have what they should, and why."""
        return self._streams.followers.unsynced()


@asynccontextmanager
async def serve(
    source: Source,
    address: str | Path,
    *,
    on_ack: OnAck | None = None,
    on_nack: OnNack | None = None,
    identity: Latest[Identity | None] | None = None,
    health: HealthSource | None = None,
    limits: Limits = _DEFAULT_LIMITS,
    connection_age: float | None = None,
    grace: float = 2.0,
) -> AsyncIterator[Server]:
    """Serve discovery while the block runs: ADS and the services of one type, state of the world and delta.

    `address` is `host:port`, or the path of a unix socket, which only its owner can open. Without
    an identity it is plaintext: on a unix socket, or on loopback for benchmarks. `connection_age`
    (seconds, ±10 % by grpc) should be below the certificates' life, as a connection keeps the
    identity it began with. At the end streams get UNAVAILABLE, spread over `grace` seconds.
    OSError when the address cannot be listened on or another process serves it.
    """
    age = [] if connection_age is None else _age(connection_age)
    server = grpc.aio.server(options=[*OPTIONS, *age])
    if on_ack is not None or on_nack is not None:
        source = Reporting(source, on_ack, on_nack)
    streams = Streams()
    server.add_generic_rpc_handlers(tuple(discovery(source, streams, limits)))
    if health is not None:
        server.add_generic_rpc_handlers((health_discovery(health, streams),))
    credentials = None if identity is None else server_credentials(identity)
    bound = listen_unix(server, address) if isinstance(address, Path) else _listen_tcp(server, address, credentials)
    await server.start()
    try:
        yield Server(bound, streams)
    finally:
        streams.stop(grace * 0.8)
        await server.stop(grace)
        # grpc cancels what is left after the grace, but does not wait for it
        await streams.none(CLEAN_UP_LIMIT)


def _age(seconds: float) -> list[tuple[str, int]]:
    return [("grpc.max_connection_age_ms", int(seconds * 1000)), ("grpc.max_connection_age_grace_ms", AGE_GRACE_MS)]


def _listen_tcp(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    """Listen on host:port; without credentials on loopback alone."""
    host, _ = host_port.split(address, listens=True)
    if credentials is None and not (host.startswith("127.") or host == "::1"):
        raise ValueError(f"{address} without an identity: plaintext is served on a unix socket or loopback alone")
    return host_port.join(host, _add(server, address, credentials))


def _add(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Bind; OSError when that fails."""
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
