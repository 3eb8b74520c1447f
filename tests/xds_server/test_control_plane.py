"""What follows from a change of the mesh, the registry or a stream, with a real store."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from legation.runtime.tasks import pause
from tests.xds_server.plane import MESH, World, addresses
from xds_server.compile.bootstrap import metadata
from xds_server.protocol.types import Acknowledged, Nacked
from xds_server.registry.registry import GRACE, UnknownInstance
from xds_server.registry.store import StoreFailed
from xds_server.serve.info import StreamInfo
from xds_server.serve.session import Rejected
from xds_server.snapshot import LISTENER, ROUTE


def test_a_bad_mesh_changes_nothing_and_says_why(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        good = await world.apply()
        bad = await world.apply(MESH.replace("calls: [orders]", "calls: [order]"))
        assert good.changed
        assert bad.version == good.version
        assert [f.path for f in bad.violations] == ["services.web.calls[0]"]
        assert world.plane.applier.document.value.version == good.version
        assert (await world.apply()).changed is False

    asyncio.run(run())


@pytest.mark.parametrize("change", ["trust_domain: shop.local", "mesh: shop"])
def test_a_running_mesh_keeps_its_name_and_trust_domain(tmp_path: Path, change: str) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        await world.connect("web-v1-0", "web")
        refused = await world.apply(MESH.replace(change, change + "x"))
        assert "legation down" in refused.violations[0].message

    asyncio.run(run())


def test_a_mesh_without_proxies_may_become_another(tmp_path: Path) -> None:
    """Between two runs; what the old one knew of its instances goes with it."""

    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        world.admission.closed(await world.connect("web-v1-0", "web"))
        result = await world.apply(MESH.replace("shop.local", "other.local"))
        assert result.changed
        assert result.violations == ()
        assert world.plane.registry.entries == {}
        await world.connect("web-v1-0", "web", peer="spiffe://other.local/web")

    asyncio.run(run())


def test_a_ready_instance_reaches_its_callers_and_outlives_us(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-v1-0", "web")
        await world.connect("orders-v1-0", "orders")
        await world.plane.transition("orders-v1-0", "1", "ready", 0)
        assert addresses(web) == 1
        world.store.close()
        after = World(tmp_path)
        again = await after.connect("web-v1-0", "web")
        assert addresses(again) == 1, "a restart loses no endpoint"

    asyncio.run(run())


def test_how_often_an_envoy_was_started_again_is_known_to_all_who_watch(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        await world.connect("orders-v1-0", "orders")
        await world.plane.transition("orders-v1-0", "1", "ready", 0)
        world.plane.publish_instances()
        await world.plane.transition("orders-v1-0", "1", "ready", 0, {"hung": 1})
        assert world.plane.stale.is_set()
        (known,) = world.plane.instance_list().instances
        assert known.envoy_restarts == {"hung": 1}

    asyncio.run(run())


def test_a_withdrawal_waits_for_the_callers_and_names_those_that_have_not_answered(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-v1-0", "web")
        await world.connect("orders-v1-0", "orders")
        await world.plane.transition("orders-v1-0", "1", "ready", 0)
        world.settle(web)
        assert await world.plane.transition("orders-v1-0", "1", "draining", 0.05) == ("web-v1-0",)
        assert addresses(web) == 0
        world.settle(web)
        assert await world.plane.transition("orders-v1-0", "1", "draining", 0.05) == ()
        with pytest.raises(UnknownInstance):
            await world.plane.transition("orders-v1-9", "1", "ready", 0)

    asyncio.run(run())


def test_a_stranger_gets_no_stream(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        with pytest.raises(Rejected, match="no mesh"):
            await world.connect("web-v1-0", "web")
        await world.apply()
        with pytest.raises(Rejected, match=r"its certificate is for spiffe://shop\.local/orders"):
            await world.connect("web-v1-0", "web", peer="spiffe://shop.local/orders")
        with pytest.raises(Rejected, match="no service 'mail'"):
            await world.connect("mail-v1-0", "mail")
        assert world.plane.registry.entries == {}
        assert world.plane.publisher.fleet.streams == {}

    asyncio.run(run())


def test_the_end_of_a_stream_withdraws_its_instance_after_the_grace(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-v1-0", "web")
        orders = [await world.connect(f"orders-v1-{n}", "orders") for n in range(2)]
        for number in range(2):
            await world.plane.transition(f"orders-v1-{number}", "1", "ready", 0)
        world.admission.closed(orders[0])
        await world.plane.tick()
        assert addresses(web) == 2
        world.clock.time += GRACE
        world.clock.set_by = -3600.0  # a clock that is set back keeps nobody
        await world.plane.tick()
        assert addresses(web) == 1
        assert [i.id for i in world.plane.instance_list().instances] == ["orders-v1-1", "web-v1-0"]

    asyncio.run(run())


def test_a_new_instance_that_is_checked_is_unwell_until_it_is_found_well(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply(MESH.replace("orders: {", "orders: {health_check: {path: /healthz}, "))
        for service in ("web", "orders"):
            await world.connect(f"{service}-v1-0", service)
            await world.plane.transition(f"{service}-v1-0", "1", "ready", 0)
        entries = world.plane.registry.entries
        found = {i.id: (i.healthy, i.serves) for i in world.plane.instance_list().instances}
        assert found == {"web-v1-0": (None, True), "orders-v1-0": (False, False)}
        node = entries["orders-v1-0"].node
        stream = await world.admission.admit_health(
            StreamInfo("hds", node.id, metadata(node), "spiffe://shop.local/orders", "00")
        )
        world.admission.health(stream, healthy=True)
        assert entries["orders-v1-0"].healthy is True
        await world.connect("orders-v1-0", "orders")
        assert entries["orders-v1-0"].healthy is True, "the same life on one more stream"

    asyncio.run(run())


def test_health_reaches_callers_once_it_changes(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-v1-0", "web")
        for number in range(2):
            await world.connect(f"orders-v1-{number}", "orders")
            await world.plane.transition(f"orders-v1-{number}", "1", "ready", 0)
        node = world.plane.registry.entries["orders-v1-0"].node
        info = StreamInfo("hds", node.id, metadata(node), "spiffe://shop.local/orders", "00")
        stream = await world.admission.admit_health(info)
        before = web.snapshots.value
        world.admission.health(stream, healthy=False)
        async with asyncio.timeout(20):
            async for snapshot in web.snapshots.watch():
                if snapshot is not before:
                    break
        assert world.plane.registry.entries["orders-v1-0"].healthy is False
        world.admission.health_closed(stream)
        assert world.plane.registry.entries["orders-v1-0"].healthy is False, "the last result stays"

    asyncio.run(run())


def test_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    """Instances that the store cannot keep still reach their callers; a mesh that it cannot keep is not applied."""

    async def run() -> None:
        world = World(tmp_path)
        good = await world.apply()
        web = await world.connect("web-v1-0", "web")
        await world.connect("orders-v1-0", "orders")
        world.store._db.execute("pragma query_only = on")
        await world.plane.transition("orders-v1-0", "1", "ready", 0)
        assert addresses(web) == 1
        with pytest.raises(StoreFailed):
            await world.apply(MESH + "  mail: {protocol: http, port: 8080}\n")
        assert world.plane.applier.document.value.version == good.version
        world.store._db.execute("pragma query_only = off")
        await world.plane.transition("orders-v1-0", "1", "restarting", 0)
        assert [e.state for e in world.store.load() if e.node.id == "orders-v1-0"] == ["restarting"]

    asyncio.run(run())


def test_a_client_that_leaves_while_it_is_admitted_leaves_nothing_behind(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        async with world.plane._persister._saving:
            joining = asyncio.ensure_future(world.connect("web-v1-0", "web"))
            while not world.plane.publisher.fleet.streams:
                await asyncio.wait([joining], timeout=0.01)
            joining.cancel()
            await asyncio.wait([joining])
        assert world.plane.publisher.fleet.streams == {}
        assert world.plane.registry.entries["web-v1-0"].streams == frozenset()

    asyncio.run(run())


def outage_of(stream) -> str | None:
    body = stream.snapshots.value.of_type(ROUTE)["orders"].body
    found = re.search(rb"service=orders; [ -~]*Z", body)
    return found[0].decode() if found else None


def test_callers_are_told_why_and_since_when_a_service_has_no_instance(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-v1-0", "web")
        since_start = 'service=orders; reason="no ready instance"; since=1970-01-01T00:16:40Z'
        assert outage_of(web) == since_start
        orders = await world.connect("orders-v1-0", "orders")
        await world.plane.transition("orders-v1-0", "1", "ready", 0)
        assert outage_of(web) is None
        world.clock.time += 100
        await world.plane.transition("orders-v1-0", "1", "restarting", 0)
        assert outage_of(web) == since_start.replace("16:40", "18:20")
        world.clock.time += 100
        await world.plane.publisher.publish_all()
        assert outage_of(web) == since_start.replace("16:40", "18:20"), "it began when it began"
        await world.plane.transition("orders-v1-0", "1", "ready", 0)
        world.admission.closed(orders)
        assert outage_of(web) is None, "a stream that ends may come back at once"
        world.clock.time += GRACE
        await world.plane.tick()
        assert outage_of(web) == since_start.replace("16:40", "20:02")
        assert addresses(web) == 1, "requests wait for its return"

    asyncio.run(run())


def test_a_nack_says_the_line_of_the_mesh_file_that_it_came_from(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-v1-0", "web")
        bad = web.snapshots.value.of_type(ROUTE)["orders"]
        world.admission.observe(web, Nacked(ROUTE, "1", ("orders",), "no such cluster", (bad.source,)))
        world.admission.observe(web, Acknowledged(web.snapshots.value, {ROUTE: "no such cluster"}))
        (instance,) = world.plane.instance_list().instances
        assert instance.nacks == ("mesh.yaml:6:3: RouteConfiguration: no such cluster",)
        assert not instance.synced

    asyncio.run(run())


def test_a_large_mesh_is_published_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, everything else has its turn: after each slice, and while it is compiled."""
    monkeypatch.setattr("xds_server.publish.SLICE", 0.0)

    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        streams = [await world.connect(f"web-v1-{n}", "web") for n in range(20)]
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await pause(0)

        counting = asyncio.ensure_future(count())
        await pause(0)
        before = turns
        await world.plane.publisher.publish_all()
        counting.cancel()
        assert turns - before >= len(streams)

    asyncio.run(run())


def test_a_change_that_comes_between_two_slices_is_not_overtaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xds_server.publish.SLICE", 0.0)

    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        callers = [await world.connect(f"web-v1-{n}", "web") for n in range(10)]
        await world.connect("orders-v1-0", "orders")
        all_of_it = asyncio.ensure_future(world.plane.publisher.publish_all())
        await pause(0)
        await world.plane.transition("orders-v1-0", "1", "draining", 0)
        await all_of_it
        assert [addresses(caller) for caller in callers] == [0] * 10

    asyncio.run(run())


def test_a_standalone_proxy_is_ready_by_its_configuration_and_well_by_its_checks(tmp_path: Path) -> None:
    """No `legation run` speaks for it: it is an endpoint once it has ACKed all that it should have."""

    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        web = await world.connect("web-1", "web")
        own = await world.standalone("orders-1")
        assert world.of("orders-1").state == "starting"
        world.settle(own)
        await pause(0.01)
        assert world.of("orders-1").state == "ready"
        assert world.of("orders-1").healthy is False, "nobody has looked at its app yet"
        health = await world.admission.admit_health(world.info("orders-1"))
        assert b"_checked_app" in health.specifiers.value, "whether it listens, where mesh.yaml asks for nothing more"
        world.admission.health(health, True)
        await pause(0.01)
        assert world.of("orders-1").serves
        assert addresses(web) == 1

    asyncio.run(run())


def test_a_standalone_proxy_that_was_withdrawn_is_a_new_one_when_it_comes_back(tmp_path: Path) -> None:
    """Its bootstrap is a file: its next life has the same nonce."""

    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        own = await world.standalone("orders-1")
        world.settle(own)
        await pause(0.01)
        await world.plane.transition("orders-1", "1", "draining", 0)
        world.settle(own)
        await pause(0.01)
        assert world.of("orders-1").state == "draining", "while it is here it stays withdrawn"
        world.admission.closed(own)
        again = await world.standalone("orders-1")
        assert world.of("orders-1").state == "starting"
        world.settle(again)
        await pause(0.01)
        assert world.of("orders-1").state == "ready"

    asyncio.run(run())


def test_a_proxy_gets_what_it_knows(tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.apply()
        sizes = []
        for name, extensions in (
            ("orders-1", frozenset({"envoy.wasm.runtime.v8", "envoy.access_loggers.open_telemetry"})),
            ("orders-2", frozenset({"x"})),
        ):
            info = replace(world.info(name), extensions=extensions, version=(1, 40))
            stream = await world.admission.admit(info)
            sizes.append(stream.snapshots.value.of_type(LISTENER)["inbound"].size)
        assert world.of("orders-2").spec.lacks == (
            "http1_lines",
            "plaintext_count",
            "otlp_log",
            "access_once",
            "lines_module",
            "each_address",
        )
        assert sizes[1] < sizes[0] - 2000, "the filter is some 3 kB"

    asyncio.run(run())
