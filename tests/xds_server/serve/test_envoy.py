"""A stock Envoy on our server: numbers are those of the conformance cases."""

import asyncio
import os
import signal
import time
from functools import partial

import pytest
from envoy.service.health.v3.hds_pb2 import HealthCheckSpecifier
from google.protobuf.json_format import ParseDict

from legation.runtime.tasks import Latest, until
from tests.xds_server.serve.envoy import (
    address,
    answers,
    app,
    broken_listener,
    cluster,
    endpoints,
    free_port,
    get,
    listener,
    route,
    running,
)
from tests.xds_server.serve.world import Consumer, seen
from xds_server.protocol.types import Acknowledged, Nacked, Send, Stale, Subscribed
from xds_server.serve import server
from xds_server.serve.server import serve
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, Snapshot


@pytest.fixture
def with_envoy(tmp_path):
    """Run a script with a consumer, its server and an Envoy."""

    def run(script, *resources, hds=False):
        async def main():
            consumer = Consumer(Latest(Snapshot.of(resources)))
            health = consumer if hds else None
            async with (
                serve(consumer, address=tmp_path / "xds.sock", health=health, grace=0.2),
                running(tmp_path, hds=hds) as envoy,
            ):
                await script(consumer, envoy)
            assert consumer.of(Stale) == []

        asyncio.run(main())

    return run


async def synced(consumer: Consumer, limit: float = 10.0) -> None:
    """Wait until the newest snapshot is answered in full, and nothing of it refused."""
    newest = consumer.snapshots.value
    await seen(lambda: consumer.of(Acknowledged)[-1:] == [Acknowledged(newest, {})], limit)


async def publish(consumer: Consumer, *resources, limit: float = 10.0) -> list[tuple[str, tuple[str, ...]]]:
    """Publish, wait for the ACKs, and return what was sent for it."""
    before = len(consumer.of(Send))
    consumer.snapshots.set(Snapshot.of(resources))
    await synced(consumer, limit)
    return [(send.type_url.rpartition(".")[2], send.names) for send in consumer.of(Send)[before:]]


def subscribes_to_four(consumer: Consumer) -> bool:
    """Whether Envoy has asked for every type."""
    return len({effect.type_url for effect in consumer.of(Subscribed)}) == 4


def test_53_envoy_starts_at_once_with_nothing(with_envoy):
    async def script(consumer, envoy):
        assert await until(envoy.ready, 5)
        await synced(consumer)

    with_envoy(script)


def test_envoy_serves_and_follows_every_kind_of_change(with_envoy):
    port = free_port()

    async def script(consumer, envoy):
        async with app("one") as one, app("two") as two:
            url = f"http://127.0.0.1:{port}/"
            whole = [cluster("a"), endpoints("a", one), listener("in", port, "r"), route("r", "a")]
            consumer.snapshots.set(Snapshot.of(whole))
            assert await answers(url, 200, "one")
            await synced(consumer)

            whole[1] = endpoints("a", two)
            assert await publish(consumer, *whole) == [("ClusterLoadAssignment", ("a",))]
            assert await answers(url, 200, "two")

            # 36: a changed cluster is live at once, not after the 15 s of a warming without endpoints
            whole[0] = cluster("a", timeout="2s")
            assert await publish(consumer, *whole) == [("Cluster", ("a",)), ("ClusterLoadAssignment", ("a",))]
            assert await envoy.stat("cluster_manager.warming_clusters") == 0
            assert await get(url) == (200, "two")

            # 40: a changed listener warms until it has its route, which is sent although it is unchanged
            whole[2] = listener("in", port, "r", stat_prefix="again")
            sent = [("Listener", ("in",)), ("RouteConfiguration", ("r",))]
            assert await publish(consumer, *whole) == sent

            async def moved() -> bool:
                await get(url)
                return await envoy.stat("http.again.downstream_rq_2xx") > 0

            assert await until(moved, 20)

            # 39: no endpoint is an explicit empty assignment
            whole[1] = endpoints("a")
            await publish(consumer, *whole)
            assert await answers(url, 503, "no healthy upstream")

            assert [names for _, names in await publish(consumer)] == [("in",), ("r",), ("a",), ("a",)]
            assert await answers(url, 0, "")

    with_envoy(script)


def test_41_a_route_moves_to_a_renamed_cluster_without_a_failed_request(with_envoy):
    port = free_port()

    async def script(consumer, envoy):
        async with app("one") as one:
            url = f"http://127.0.0.1:{port}/"
            fixed = [listener("in", port, "r")]
            await publish(consumer, *fixed, cluster("c0"), endpoints("c0", one), route("r", "c0"))
            assert await answers(url, 200, "one")
            got = []

            async def load() -> None:
                while True:
                    got.append(await get(url))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(load()) for _ in range(3)]
                for n in range(1, 15):
                    name = f"c{n}"
                    await publish(consumer, *fixed, cluster(name), endpoints(name, one), route("r", name))
                for task in tasks:
                    task.cancel()
            assert set(got) == {(200, "one")}
            assert len(got) > 50
            assert await envoy.stat("cluster_manager.active_clusters") == 2

    with_envoy(script)


def test_7_8_a_refused_listener_is_observed_and_everything_else_goes_on(with_envoy):
    port = free_port()

    async def script(consumer, envoy):
        async with app("one") as one:
            url = f"http://127.0.0.1:{port}/"
            good = [cluster("a"), endpoints("a", one), listener("in", port, "r"), route("r", "a")]
            consumer.snapshots.set(Snapshot.of([*good, broken_listener("bad")]))
            await seen(lambda: bool(consumer.of(Nacked)))
            (nacked,) = consumer.of(Nacked)
            assert nacked.type_url == LISTENER
            assert set(nacked.names) == {"in", "bad"}
            assert "address" in nacked.error.lower()
            await seen(
                lambda: (
                    consumer.of(Acknowledged)[-1:] == [Acknowledged(consumer.snapshots.value, {LISTENER: nacked.error})]
                )
            )
            # which of the two Envoy took, the NACK does not say: the good one goes again when the bad one is gone
            await publish(consumer, *good)
            assert await answers(url, 200, "one")
            assert len(consumer.of(Nacked)) == 1

    with_envoy(script)


def test_35_a_reconnect_after_a_restart_sends_nothing_again(tmp_path):
    port = free_port()

    async def main():
        async with app("one") as one, running(tmp_path):
            whole = [cluster("a"), endpoints("a", one), listener("in", port, "r"), route("r", "a")]
            for life in range(3):
                consumer = Consumer(Latest(Snapshot.of(whole)))
                async with serve(consumer, address=tmp_path / "xds.sock", grace=0.2):
                    await synced(consumer)
                    assert await answers(f"http://127.0.0.1:{port}/", 200, "one")
                    # the first subscription may come before the others: all of them are in by the second look
                    await seen(partial(subscribes_to_four, consumer))
                    await synced(consumer)
                    if life:
                        assert consumer.of(Send) == []
            # 37: a cluster that changed while we were away, with endpoints that did not
            whole[0] = cluster("a", timeout="3s")
            consumer = Consumer(Latest(Snapshot.of(whole)))
            async with serve(consumer, address=tmp_path / "xds.sock", grace=0.2):
                await seen(lambda: [s.type_url for s in consumer.of(Send)] == [CLUSTER, ENDPOINT])
                start = time.monotonic()
                await synced(consumer)
                assert time.monotonic() - start < 5

    asyncio.run(main())


def test_a_hung_envoy_is_noticed(tmp_path, monkeypatch):
    """Stopped, it answers no ping; all limits of pings are a tenth of what they are."""
    pings = {name for name, _ in server.OPTIONS if "ping" in name or "keepalive" in name}
    quick = [(name, value // 10 if name in pings and value > 1000 else value) for name, value in server.OPTIONS]
    monkeypatch.setattr(server, "OPTIONS", quick)

    async def main():
        consumer = Consumer(Latest(Snapshot.of([cluster("a")])))
        async with serve(consumer, address=tmp_path / "xds.sock", grace=0.2), running(tmp_path) as envoy:
            await synced(consumer)
            os.kill(envoy.pid, signal.SIGSTOP)
            await seen(lambda: not consumer.open)
            os.kill(envoy.pid, signal.SIGCONT)
            await seen(lambda: bool(consumer.open))

    asyncio.run(main())


def test_envoy_reports_the_health_of_its_app(with_envoy):
    async def script(consumer, envoy):
        async with app("fine") as one:
            consumer.specifiers.set(specifier(one))
            await seen(lambda: consumer.reports[-1:] == [True])
            consumer.specifiers.set(specifier(free_port()))
            await seen(lambda: consumer.reports[-1:] == [False])
            assert "hds" in {info.service for info in consumer.infos}

    with_envoy(script, hds=True)


def specifier(port: int) -> bytes:
    check = {
        "timeout": "1s",
        "interval": "0.1s",
        "no_traffic_interval": "0.1s",
        "no_traffic_healthy_interval": "0.1s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 1,
        "http_health_check": {"path": "/"},
    }
    locality = {"endpoints": [{"address": address(port)}]}
    checks = {"cluster_name": "local_app", "health_checks": [check], "locality_endpoints": [locality]}
    fields = {"cluster_health_checks": [checks], "interval": "0.1s"}
    return ParseDict(fields, HealthCheckSpecifier()).SerializeToString()
