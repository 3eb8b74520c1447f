"""State of the world, and the services of one type: the same server, other methods. Numbers are conformance cases."""

import asyncio
import gc
from datetime import timedelta
from functools import partial

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.discovery.v3.discovery_pb2 import Resource as Wrapper

from legation.runtime.tasks import Latest
from tests.xds_server.protocol.client import snapshot
from tests.xds_server.serve.world import Call, Consumer, SotwCall, dial, seen
from xds_server.protocol.types import Acked, Acknowledged, Limits, Nacked, Send, Subscribed
from xds_server.serve.codec import RESOURCE_IN_SOTW
from xds_server.serve.server import serve
from xds_server.serve.servicers import ADS, SERVICES
from xds_server.serve.stream import StreamSession
from xds_server.snapshot import CLUSTER, ENDPOINT, Resource, Snapshot

SINGLE = [service for service in SERVICES if service[3]]


def sent_more_than(consumer: Consumer, count: int) -> bool:
    return len(consumer.of(Send)) > count


def talk(tmp_path, script, specs="c:web e:web l:web r:web s:web", **options):
    async def main():
        consumer = Consumer(Latest(snapshot(specs)))
        async with (
            serve(consumer, tmp_path / "xds.sock", grace=0.2, **options) as server,
            dial(server.address) as channel,
        ):
            await script(consumer, channel)
        assert consumer.open == set()

    asyncio.run(main())


def test_a_state_of_the_world_stream_is_answered_pushed_to_and_observed(tmp_path):
    async def script(consumer, channel):
        call = SotwCall(channel)
        await call.send("orders-1", type_url=CLUSTER)
        response = await call.read()
        assert (response.type_url, [r.value for r in response.resources]) == (CLUSTER, [b"1"])
        await call.send(type_url=CLUSTER, response_nonce=response.nonce, version_info=response.version_info)
        await seen(lambda: len(consumer.of(Acknowledged)) == 1)
        consumer.snapshots.set(snapshot("c:other=2"))
        newer = await call.read()
        assert [r.value for r in newer.resources] == [b"2"]
        assert newer.version_info == consumer.snapshots.value.of_type(CLUSTER).version != response.version_info
        bad = {"message": "bad"}
        await call.send(
            type_url=CLUSTER, response_nonce=newer.nonce, version_info=response.version_info, error_detail=bad
        )
        await seen(lambda: len(consumer.of(Acknowledged)) == 2)
        assert [type(e) for e in consumer.effects] == [
            Subscribed,
            Send,
            Acked,
            Acknowledged,
            Send,
            Nacked,
            Acknowledged,
        ]

    talk(tmp_path, script)


@pytest.mark.parametrize(("short", "name", "what", "type_url"), SINGLE, ids=[s[0] for s in SINGLE])
def test_2_each_type_has_a_service_of_its_own_in_both_variants(tmp_path, short, name, what, type_url):
    async def script(consumer, channel):
        whole, delta = SotwCall(channel, f"/{name}/Stream{what}"), Call(channel, f"/{name}/Delta{what}")
        await whole.send("n", resource_names=["web"])
        response = await whole.read()
        assert (response.type_url, [r.type_url for r in response.resources]) == (type_url, [type_url])
        await delta.send("n", resource_names_subscribe=["web"])
        assert [r.name for r in (await delta.read()).resources] == ["web"]
        assert [info.service for info in consumer.infos] == [short, short]
        await whole.send("n", type_url=ENDPOINT if type_url != ENDPOINT else CLUSTER)
        assert "is not served on this stream" in (await whole.end())[1]

    talk(tmp_path, script)


def test_both_variants_name_the_state_of_a_type_alike(tmp_path):
    async def script(consumer, channel):
        whole, delta = SotwCall(channel), Call(channel)
        await whole.send("n", type_url=CLUSTER)
        await delta.send("n", type_url=CLUSTER)
        first = (await whole.read()).version_info
        assert (await delta.read()).system_version_info == first
        consumer.snapshots.set(snapshot("c:web=2"))
        assert (await delta.read()).system_version_info == (await whole.read()).version_info != first

    talk(tmp_path, script)


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT", "not a DiscoveryRequest"),
        (DiscoveryRequest(node={"id": "n"}), "INVALID_ARGUMENT", "type_url is empty"),
        (DiscoveryRequest(type_url=CLUSTER), "INVALID_ARGUMENT", "node.id is empty"),
        (
            DiscoveryRequest(node={"id": "n"}, type_url=CLUSTER, resource_names=["x"] * 1_000_000),
            "RESOURCE_EXHAUSTED",
            "1000000 resource names",
        ),
        (
            DiscoveryRequest(node={"id": "n", "user_agent_name": "x" * 100_000}, type_url=CLUSTER),
            "INVALID_ARGUMENT",
            "the node has 100",
        ),
    ],
    ids=["garbage", "no type", "no node", "1M names", "giant node"],
)
def test_51_a_bad_first_request_ends_its_stream_with_the_reason(tmp_path, request_, code, says):
    async def script(consumer, channel):
        call = SotwCall(channel)
        await call.call.write(request_ if isinstance(request_, bytes) else request_.SerializeToString())
        got, details = await call.end()
        assert (got.name, says in details) == (code, True), details

    talk(tmp_path, script)


def test_44_what_is_too_large_for_one_response_ends_the_stream_with_the_reason(tmp_path):
    async def script(consumer, channel):
        consumer.snapshots.set(Snapshot.of(Resource.of(CLUSTER, f"c{n}", bytes(100_000)) for n in range(60)))
        call = SotwCall(channel)
        await call.send("n", type_url=CLUSTER)
        code, details = await call.end()
        assert (code.name, "use the delta variant" in details) == ("RESOURCE_EXHAUSTED", True)

    talk(tmp_path, script, limits=Limits())


@pytest.mark.parametrize("kind", [Call, SotwCall])
def test_45_a_ttl_is_renewed_in_time_for_as_long_as_there_is_one(tmp_path, kind):
    async def script(consumer, channel):
        lasting = Resource.of(ENDPOINT, "a", b"1", ttl=timedelta(seconds=0.3))
        consumer.snapshots.set(Snapshot.of([lasting]))
        call = kind(channel)
        asked = {"resource_names": ["a"]} if kind is SotwCall else {"resource_names_subscribe": ["a"]}
        await call.send("n", (RESOURCE_IN_SOTW,), type_url=ENDPOINT, **asked)
        seen_ = [unwrapped(await call.read()) for _ in range(3)]
        assert [r.HasField("resource") for r in seen_] == [True, False, False]
        assert len({r.version for r in seen_}) == 1
        consumer.snapshots.set(Snapshot.of([Resource.of(ENDPOINT, "a", b"1")]))
        while (last := unwrapped(await call.read())) is not None and last.HasField("ttl"):
            pass
        sent = len(consumer.of(Send))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call.call.read(), 0.5)
        assert len(consumer.of(Send)) == sent

    talk(tmp_path, script)


def unwrapped(response) -> Wrapper | None:
    (item,) = response.resources
    if isinstance(item, Wrapper):
        return item
    inner = Wrapper()
    return inner if item.Unpack(inner) else None


@pytest.mark.parametrize("kind", [Call, SotwCall])
def test_48_a_slow_reader_gets_the_newest(tmp_path, kind):
    def big(n: int) -> Snapshot:
        return Snapshot.of([Resource.of(CLUSTER, "web", bytes([n]) * 1_000_000)])

    async def script(consumer, channel):
        slow = kind(channel)
        consumer.snapshots.set(big(0))
        await slow.send("n", type_url=CLUSTER)
        await seen(lambda: bool(consumer.of(Send)))
        for n in range(1, 40):
            consumer.snapshots.set(big(n))
            sent = partial(sent_more_than, consumer, len(consumer.of(Send)))
            await asyncio.wait([asyncio.ensure_future(seen(sent))], timeout=0.02)
        got: list[int] = []
        while got[-1:] != [39]:
            (item,) = (await slow.read()).resources
            got.append((item.resource if kind is Call else item).value[0])
        assert len(got) < 20, got

    talk(tmp_path, script)


def test_49_a_thousand_streams_that_come_and_go_leave_nothing(tmp_path):
    methods = [(SotwCall, f"/{ADS}/StreamAggregatedResources"), (Call, f"/{ADS}/DeltaAggregatedResources")]

    async def one(channel, n):
        kind, method = methods[n % 2]
        call = kind(channel, method)
        await call.send(f"n{n}", type_url=CLUSTER)
        if n % 3 or not n % 5:
            await call.read()
        if n % 5:
            call.call.cancel()
        else:
            await call.call.done_writing()
            await call.end()

    async def script(consumer, channel):
        tasks = len(asyncio.all_tasks())
        gc.collect()
        gc.disable()  # what a stream had goes with it, and does not wait for the garbage collector
        try:
            for batch in range(20):
                await asyncio.gather(*(one(channel, n) for n in range(batch * 50, batch * 50 + 50)))
            await seen(lambda: not consumer.open)
            kept = sum(isinstance(thing, StreamSession) for thing in gc.get_objects())
            assert kept < 100, f"of 1,000 streams, {kept} wait for the garbage collector"
        finally:
            gc.enable()
        await seen(lambda: len(asyncio.all_tasks()) <= tasks + 2)
        assert len(consumer.infos) > 500

    talk(tmp_path, script)
