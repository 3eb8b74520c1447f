"""The server and real grpc clients, over unix sockets and loopback."""

import asyncio
import os
import socket
import stat

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest
from tests.xds_server.protocol.client import snapshot
from tests.xds_server.serve.world import Authority, Call, Consumer, client_credentials, dial, seen
from xds_server.protocol.types import Acked, Acknowledged, Limits, Nacked, Send, Stale, Subscribed
from xds_server.serve.server import serve
from xds_server.serve.servicers import ADS, SDS
from xds_server.snapshot import CLUSTER, ENDPOINT, SECRET, Resource, Snapshot


def talk(tmp_path, script, specs="c:web e:web s:k", **options):
    """Run a script against a server on a unix socket."""

    async def main():
        consumer = Consumer(Latest(snapshot(specs)))
        path = tmp_path / "xds.sock"
        async with serve(consumer, address=path, grace=0.5, **options) as server, dial(server.address) as channel:
            await script(consumer, channel)
        assert consumer.open == set()

    asyncio.run(main())


def test_a_stream_is_answered_pushed_to_and_observed(tmp_path):
    async def script(consumer, channel):
        call = Call(channel)
        await call.send("orders-1", type_url=CLUSTER)
        response = await call.read()
        assert (response.type_url, [r.name for r in response.resources]) == (CLUSTER, ["web"])
        assert response.resources[0].resource.value == b"1"
        await call.send(type_url=CLUSTER, response_nonce=response.nonce)
        await seen(lambda: len(consumer.of(Acknowledged)) == 1)
        consumer.snapshots.set(snapshot("c:web=2"))
        response = await call.read()
        assert response.resources[0].resource.value == b"2"
        await call.send("another-name", type_url=CLUSTER, response_nonce="7")
        await call.send(type_url=CLUSTER, response_nonce=response.nonce, error_detail={"message": "bad"})
        await seen(lambda: len(consumer.of(Acknowledged)) == 2)
        assert [type(e) for e in consumer.effects] == [
            Subscribed, Send, Acked, Acknowledged, Send, Stale, Nacked, Acknowledged,
        ]  # fmt: skip
        assert consumer.of(Acknowledged)[1] == Acknowledged(consumer.snapshots.value, {CLUSTER: "bad"})
        assert [(h.service, h.node_id, h.peer, h.serial) for h in consumer.infos] == [("ads", "orders-1", None, None)]

    talk(tmp_path, script)


def test_a_snapshot_that_changes_nothing_for_a_stream_is_settled_at_once(tmp_path):
    async def script(consumer, channel):
        call = Call(channel)
        await call.send("n", type_url=ENDPOINT, resource_names_subscribe=["web"])
        await call.send(type_url=ENDPOINT, response_nonce=(await call.read()).nonce)
        newer = snapshot("c:web=7 e:web s:k")
        consumer.snapshots.set(newer)
        await seen(lambda: consumer.of(Acknowledged)[-1:] == [Acknowledged(newer, {})])
        assert len(consumer.of(Send)) == 1

    talk(tmp_path, script)


def test_node_metadata_reach_the_consumer(tmp_path):
    async def script(consumer, channel):
        call = Call(channel)
        request = DeltaDiscoveryRequest(type_url=CLUSTER)
        request.node.id = "n"
        request.node.metadata.update({"service": "orders", "ports": {"web": 1}})
        await call.call.write(request.SerializeToString())
        await call.read()
        assert consumer.infos[0].metadata == {"service": "orders", "ports": {"web": 1.0}}

    talk(tmp_path, script)


def test_2_on_the_stream_of_one_type_the_type_is_implied(tmp_path):
    async def script(consumer, channel):
        call = Call(channel, f"/{SDS}/DeltaSecrets")
        await call.send("n", resource_names_subscribe=["k"])
        response = await call.read()
        assert (response.type_url, [r.name for r in response.resources]) == (SECRET, ["k"])
        assert consumer.infos[0].service == "sds"

    talk(tmp_path, script)


@pytest.mark.parametrize(
    ("method", "data", "code", "says"),
    [
        ("ads", b"\xff\xff\xff", "INVALID_ARGUMENT", "not a DeltaDiscoveryRequest"),
        ("ads", DeltaDiscoveryRequest(node={"id": "n"}), "INVALID_ARGUMENT", "type_url is empty"),
        ("ads", DeltaDiscoveryRequest(type_url=CLUSTER), "INVALID_ARGUMENT", "node.id is empty"),
        ("sds", DeltaDiscoveryRequest(node={"id": "n"}, type_url=CLUSTER), "INVALID_ARGUMENT", "is not served on"),
        (
            "ads",
            DeltaDiscoveryRequest(node={"id": "n"}, type_url=CLUSTER, resource_locators_subscribe=[{"name": "x"}]),
            "INVALID_ARGUMENT",
            "resource locators",
        ),
        (
            "ads",
            DeltaDiscoveryRequest(node={"id": "n"}, type_url=CLUSTER, resource_names_subscribe=map(str, range(60000))),
            "RESOURCE_EXHAUSTED",
            "60000 resource names",
        ),
        (
            "ads",
            DeltaDiscoveryRequest(node={"id": "n"}, type_url=CLUSTER, resource_names_subscribe=["x"] * 1_000_000),
            "RESOURCE_EXHAUSTED",
            "resource names",
        ),
        (
            "ads",
            DeltaDiscoveryRequest(node={"id": "n"}, type_url=CLUSTER, resource_names_subscribe=["x" * (5 << 20)]),
            "RESOURCE_EXHAUSTED",
            "larger than max",
        ),
    ],
    ids=["garbage", "no type", "no node", "wrong type", "locators", "60k names", "1M names", "5 MiB"],
)
def test_2_51_a_bad_first_request_ends_its_stream_alone(tmp_path, method, data, code, says):
    async def script(consumer, channel):
        good, bad = Call(channel), Call(channel, _METHODS[method])
        await good.send("n", type_url=CLUSTER)
        await good.read()
        await bad.call.write(data if isinstance(data, bytes) else data.SerializeToString())
        got, details = await bad.end()
        assert (got.name, says in details) == (code, True), details
        consumer.snapshots.set(snapshot("c:web=2"))
        assert (await good.read()).resources[0].resource.value == b"2"

    talk(tmp_path, script)


_METHODS = {"ads": f"/{ADS}/DeltaAggregatedResources", "sds": f"/{SDS}/DeltaSecrets"}


def test_51_garbage_later_ends_the_stream_and_is_counted_as_closed(tmp_path):
    async def script(consumer, channel):
        call = Call(channel)
        await call.send("n", type_url=CLUSTER)
        await call.read()
        await call.call.write(b"\xff\xff")
        assert (await call.end())[0] is grpc.StatusCode.INVALID_ARGUMENT
        await seen(lambda: not consumer.open)

    talk(tmp_path, script)


def test_50_a_refused_stream_gets_the_reason(tmp_path):
    async def script(consumer, channel):
        consumer.refuse = "orders is not web"
        call = Call(channel)
        await call.send("n", type_url=CLUSTER)
        assert await call.end() == (grpc.StatusCode.PERMISSION_DENIED, "orders is not web")
        assert consumer.effects == []

    talk(tmp_path, script)


def test_a_fault_of_ours_ends_the_stream_without_its_secrets(tmp_path):
    async def script(consumer, channel):
        async def admit(_):
            raise KeyError("secret")

        consumer.admit = admit
        call = Call(channel)
        await call.send("n", type_url=CLUSTER)
        assert await call.end() == (grpc.StatusCode.INTERNAL, "internal error")

    talk(tmp_path, script)


def test_47_two_streams_of_one_node_are_both_served(tmp_path):
    async def script(consumer, channel):
        old, new = Call(channel), Call(channel)
        for call in (old, new):
            await call.send("n", type_url=CLUSTER)
            await call.read()
        old.call.cancel()
        await seen(lambda: len(consumer.open) == 1)
        consumer.snapshots.set(snapshot("c:web=2"))
        assert (await new.read()).resources[0].resource.value == b"2"

    talk(tmp_path, script)


def test_48_a_slow_reader_gets_the_newest_and_holds_nobody_up(tmp_path):
    def big(n: int) -> Snapshot:
        return Snapshot.of([Resource.of(CLUSTER, "web", bytes([n]) * 1_000_000)])

    async def script(consumer, channel):
        async with dial(f"unix:{tmp_path / 'xds.sock'}") as other:
            slow, fast = Call(channel), Call(other)
            consumer.snapshots.set(big(0))
            for call in (slow, fast):
                await call.send("n", type_url=CLUSTER)
            for n in range(1, 40):
                nonce = (await fast.read()).nonce
                await fast.send(type_url=CLUSTER, response_nonce=nonce)
                consumer.snapshots.set(big(n))
            got = [(await slow.read()).resources[0].resource.value[0]]
            while got[-1] != 39:
                got.append((await slow.read()).resources[0].resource.value[0])
            assert len(got) < 20, got

    talk(tmp_path, script)


def test_49_connections_that_come_and_go_leave_nothing(tmp_path):
    async def script(consumer, channel):
        tasks = len(asyncio.all_tasks())
        for n in range(300):
            call = Call(channel)
            await call.send(f"n{n}", type_url=CLUSTER)
            await call.read()
            if n % 2:
                call.call.cancel()
            else:
                await call.call.done_writing()
                assert (await call.end())[0] is grpc.StatusCode.OK
        await seen(lambda: not consumer.open)
        await seen(lambda: len(asyncio.all_tasks()) <= tasks + 2)
        assert len(consumer.infos) == 300

    talk(tmp_path, script)


def test_52_a_stop_ends_streams_as_unavailable(tmp_path):
    async def main():
        consumer = Consumer(Latest(snapshot("c:web")))
        server = serve(consumer, address=tmp_path / "xds.sock", grace=1.0)
        served = await server.__aenter__()
        async with dial(served.address) as channel:
            calls = [Call(channel) for _ in range(5)]
            for call in calls:
                await call.send("n", type_url=CLUSTER)
                await call.read()
            async with asyncio.timeout(20):
                await server.__aexit__(None, None, None)
            ends = [await call.end() for call in calls]
        assert ends == [(grpc.StatusCode.UNAVAILABLE, "the server is stopping")] * 5
        assert consumer.open == set()
        assert not (tmp_path / "xds.sock").exists()

    asyncio.run(main())


def test_a_unix_socket_is_for_its_owner_alone_and_served_once(tmp_path):
    path = tmp_path / "xds.sock"

    async def main():
        consumer = Consumer(Latest(snapshot()))
        before = os.umask(0)
        try:
            async with serve(consumer, address=path, grace=0.1):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                with pytest.raises(OSError, match="is served by another process"):
                    async with serve(consumer, address=path, grace=0.1):
                        pass
                assert os.umask(0) == 0
        finally:
            os.umask(before)

    asyncio.run(main())


def test_a_dead_socket_is_replaced(tmp_path):
    path = tmp_path / "xds.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def script(consumer, channel):
        call = Call(channel)
        await call.send("n", type_url=CLUSTER)
        await call.read()

    talk(tmp_path, script)


def test_a_port_that_is_taken_is_an_error_with_the_address():
    async def main():
        consumer = Consumer(Latest(snapshot()))
        async with serve(consumer, address="127.0.0.1:0", grace=0.1) as server:
            with pytest.raises(OSError, match=f"cannot listen on {server.address}"):
                async with serve(consumer, address=server.address, grace=0.1):
                    pass

    asyncio.run(main())


def test_plaintext_stays_on_the_host():
    async def main():
        with pytest.raises(ValueError, match="plaintext is served on a unix socket or loopback alone"):
            async with serve(Consumer(Latest(snapshot())), address="0.0.0.0:0"):
                pass

    asyncio.run(main())


def test_44_a_response_above_the_clients_limit_comes_in_parts(tmp_path):
    async def script(consumer, channel):
        many = Snapshot.of(Resource.of(CLUSTER, f"c{n}", bytes(100_000)) for n in range(60))
        consumer.snapshots.set(many)
        call = Call(channel)
        await call.send("n", type_url=CLUSTER)
        parts = [await call.read(), await call.read()]
        assert sum(len(part.resources) for part in parts) == 60

    talk(tmp_path, script, limits=Limits())


def test_mtls_proves_the_peer_and_follows_a_rotated_identity():
    authority, stranger = Authority(), Authority("other root")

    async def main():
        consumer = Consumer(Latest(snapshot("c:web")))
        first = authority.issue("spiffe://shop.local/legation/xds-server", 0x111)
        identity: Latest[Identity | None] = Latest(first)
        web = client_credentials(authority.issue("spiffe://shop.local/web", 0xABC))
        async with serve(consumer, address="127.0.0.1:0", identity=identity, grace=0.1) as server:
            address = server.address
            async with dial(address, web) as channel:
                call = Call(channel)
                await call.send("n", type_url=CLUSTER)
                await call.read()
                assert (consumer.infos[0].peer, consumer.infos[0].serial) == ("spiffe://shop.local/web", "0abc")
                assert await served_serial(address, authority) == 0x111
                identity.set(authority.issue("spiffe://shop.local/legation/xds-server", 0x222))
                assert await served_serial(address, authority) == 0x222
                identity.set(first)
                assert await served_serial(address, authority) == 0x111
                consumer.snapshots.set(snapshot("c:web=2"))
                assert (await call.read()).resources[0].resource.value == b"2"
            other = stranger.issue("spiffe://shop.local/web", 1)
            fake = grpc.ssl_channel_credentials(authority.pem, other.private_key, other.certificate_chain)
            for refused in (fake, grpc.ssl_channel_credentials(authority.pem)):
                async with dial(address, refused) as channel:
                    assert (await Call(channel).end())[0] is grpc.StatusCode.UNAVAILABLE
        assert len(consumer.infos) == 1

    asyncio.run(main())


async def served_serial(address, authority) -> int:
    """The serial of the certificate in a new handshake."""
    import ssl

    from cryptography import x509

    host, port = address.split(":")
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number


def test_a_connection_ends_at_its_age(tmp_path):
    async def script(consumer, channel):
        call = Call(channel)
        await call.send("n", type_url=CLUSTER)
        await call.read()
        code, _ = await call.end()
        assert code is grpc.StatusCode.UNAVAILABLE
        await seen(lambda: not consumer.open)

    talk(tmp_path, script, connection_age=0.3)
