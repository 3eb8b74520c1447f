"""How streams end: by their clients, by their certificates, by whoever serves."""

import asyncio
import datetime as dt
from contextlib import asynccontextmanager

import grpc
import pytest

from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from tests.xds_server.protocol.client import snapshot
from tests.xds_server.serve.world import Authority, Call, Consumer, client_credentials, dial, seen
from xds_server.protocol.types import Send
from xds_server.serve.server import serve
from xds_server.serve.session import End, Writer
from xds_server.snapshot import CLUSTER, Resource, Snapshot


def test_a_stream_ends_with_its_certificate_and_where_the_server_ends_it():
    authority = Authority()

    @asynccontextmanager
    async def stream(address, serial, **life):
        with_ = client_credentials(authority.issue(f"spiffe://shop.local/{serial}", serial, **life))
        async with dial(address, with_) as channel:
            call = Call(channel)
            await call.send(f"n{serial}", type_url=CLUSTER)
            await call.read()
            yield call

    async def main():
        identity: Latest[Identity | None] = Latest(authority.issue("spiffe://shop.local/legation/xds-server", 9))
        consumer = Consumer(Latest(snapshot("c:web")))
        async with (
            serve(consumer, address="127.0.0.1:0", identity=identity, grace=0.1) as server,
            stream(server.address, 1, life=dt.timedelta(seconds=2)) as short,
            stream(server.address, 2) as revoked,
            stream(server.address, 3) as other,
        ):
            ended = await short.end()
            assert ended[0] is grpc.StatusCode.UNAUTHENTICATED
            assert "certificate has expired" in ended[1]
            assert server.end(lambda info: info.serial == "02", "revoked") == 1
            assert await revoked.end() == (grpc.StatusCode.PERMISSION_DENIED, "revoked")
            await seen(lambda: len(consumer.open) == 1)
            consumer.snapshots.set(snapshot("c:web=2"))
            assert (await other.read()).resources[0].resource.value == b"2"
            assert server.end(lambda info: info.serial == "02", "revoked") == 0

    asyncio.run(main())


def test_a_client_that_closes_its_side_while_it_is_written_to_gets_a_status(tmp_path):
    """grpc.aio sends no status after a write that was cancelled: such a stream would stay for ever."""

    async def main():
        path = tmp_path / "xds.sock"
        big = Resource.of(CLUSTER, "web", bytes(3 << 20))
        consumer = Consumer(Latest(Snapshot.of([big])))
        async with serve(consumer, address=path, grace=0.1) as server, dial(server.address) as channel:
            call = Call(channel)
            await call.send("n", type_url=CLUSTER)
            await seen(lambda: len(consumer.of(Send)) == 1)  # and not taken, as nobody reads yet
            await call.send(type_url="no.such.type")
            await call.call.done_writing()
            await call.read()
            code, details = await call.end()
            assert (code, "no.such.type" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        assert consumer.open == set()

    asyncio.run(main())


def test_a_writer_that_finishes_waits_for_a_write_but_not_for_ever():
    class Stuck:
        """A client that takes nothing until it is let go."""

        def __init__(self):
            self.free, self.written = asyncio.Event(), []

        async def write(self, data):
            await self.free.wait()
            self.written.append(data)

    async def main():
        context = Stuck()
        writer = Writer(context)  # type: ignore[arg-type]  # all of a context that it uses
        writing = asyncio.ensure_future(writer.write(b"last"))
        await asyncio.wait({writing}, timeout=0.01)
        await writer.finish(0.01)
        assert not writing.done()
        context.free.set()
        await writer.finish(10)
        assert context.written == [b"last"]
        with pytest.raises(End):
            await writer.write(b"more")

    asyncio.run(main())
