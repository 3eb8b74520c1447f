"""An app for tests that is ill from SIGUSR1 to SIGUSR2: `python flapping.py grpc|tcp`.

grpc: grpc.health.v1 says NOT_SERVING, and calls of `Who` end with UNAVAILABLE. tcp: nobody listens any more. Both
answer with the instance's id.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import grpc

WHO = "/flapping.Flapping/Who"
INSTANCE = os.environ.get("INSTANCE", "").encode()
PORT = os.environ.get("PORT", "0")


class _Service(grpc.GenericRpcHandler):
    well = True

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        methods = {"/grpc.health.v1.Health/Check": self._check, WHO: self._who}
        found = methods.get(details.method)
        return grpc.unary_unary_rpc_method_handler(found) if found else None

    async def _check(self, _: bytes, __: object) -> bytes:
        return b"\x08\x01" if self.well else b"\x08\x02"

    async def _who(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if not self.well:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "ill")
        return INSTANCE


async def _grpc() -> Callable[[bool], Awaitable[None]]:
    service = _Service()
    server = grpc.aio.server(handlers=[service])
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    await server.start()

    async def become(well: bool, _: object = server) -> None:
        service.well = well

    return become


async def _tcp() -> Callable[[bool], Awaitable[None]]:
    listening: list[asyncio.Server] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(INSTANCE)
        writer.close()

    async def become(well: bool) -> None:
        while listening and not well:
            listening.pop().close()
        if well and not listening:
            listening.append(await asyncio.start_server(answer, "127.0.0.1", int(PORT)))

    await become(True)
    return become


async def main() -> None:
    """Be well until told otherwise."""
    become = await {"grpc": _grpc, "tcp": _tcp}[sys.argv[1]]()
    told: asyncio.Queue[bool | None] = asyncio.Queue()
    for number, what in ((signal.SIGUSR1, False), (signal.SIGUSR2, True), (signal.SIGTERM, None)):
        asyncio.get_running_loop().add_signal_handler(number, told.put_nowait, what)
    while (well := await told.get()) is not None:
        await become(well)


if __name__ == "__main__":
    asyncio.run(main())
