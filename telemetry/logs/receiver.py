"""Where the mesh's log comes in.

Envoys send their access logs as OTLP over gRPC, on a unix socket that only its owner can open; docker what apps in
containers write, as syslog over UDP: whoever may send there may write into the log.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from legation.runtime import host_port
from legation.runtime.unix_grpc import listen_unix

SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
_ANSWER = b""
"""An ExportLogsServiceResponse without anything: all is well."""
LARGEST = 4 << 20
"""Bytes of one batch."""
_OPTIONS = (("grpc.max_receive_message_length", LARGEST), ("grpc.so_reuseport", 0))
_AT_ONCE = 256


@asynccontextmanager
async def receiving(path: Path, take: Callable[[bytes], None]) -> AsyncIterator[None]:
    """Serve while the block runs; `take` gets each batch as it came, and returns at once."""

    async def export(batch: bytes, _: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        take(batch)
        return _ANSWER

    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_AT_ONCE)
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": method}),))
    listen_unix(server, path)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0.5)


@asynccontextmanager
async def receiving_lines(address: str, take: Callable[[bytes], None]) -> AsyncIterator[None]:
    """Take datagrams at host:port while the block runs; at none where that is empty. OSError when it is taken."""
    if not address:
        yield
        return
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Lines(take), local_addr=host_port.split(address, listens=True)
    )
    try:
        yield
    finally:
        transport.close()


class _Lines(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - as asyncio has it
        self._take(data)
