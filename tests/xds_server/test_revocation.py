"""What becomes of proxies whose certificates are revoked: their streams, their endpoints, their TCP connections."""

import asyncio
from pathlib import Path

import pytest

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import Revoked
from legation.runtime.tasks import until
from tests.support.programs import eventually
from tests.xds_server.plane import World, addresses
from xds_server import control_plane
from xds_server.compile.bootstrap import metadata
from xds_server.serve.info import StreamInfo
from xds_server.serve.session import Rejected
from xds_server.snapshot import LISTENER

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders, cache]}
  orders: {protocol: http, port: 8080, calls: [queue]}
  cache: {protocol: tcp, port: 6379}
  queue: {protocol: tcp, port: 5672}
"""


@pytest.fixture(autouse=True)
def nothing_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy here answers, nor sends a request whose arrival could be waited for."""
    monkeypatch.setattr(control_plane, "_PATIENCE", 0.05)
    monkeypatch.setattr(control_plane, "_IN_FLIGHT", 0.0)


async def connect(world: World, service: str, serial: str, number: int = 0):
    node = InstanceSpec(f"{service}-v1-{number}", service, "v1", "1", "127.64.1.1", 15006, app_port=20000)
    identity = f"spiffe://shop.local/{service}"
    return await world.admission.admit(StreamInfo("ads", node.id, metadata(node), identity, serial))


async def ready(world: World, service: str, serial: str, number: int = 0):
    stream = await connect(world, service, serial, number)
    await world.plane.transition(f"{service}-v1-{number}", "1", "ready", 0)
    return stream


async def started(folder: Path) -> tuple[World, list[frozenset[str]]]:
    world, ended = World(folder), []
    await world.apply(MESH)

    def end(serials):
        ended.append(serials)
        return 1

    world.plane.end_streams = end
    return world, ended


def revoked(*serials: str, **more) -> Revoked:
    return Revoked(serials=serials, **more)


def test_nobody_calls_a_server_whose_certificate_is_revoked_and_its_streams_end(tmp_path: Path) -> None:
    async def run() -> None:
        world, ended = await started(tmp_path)
        web = await ready(world, "web", "0a")
        await ready(world, "orders", "0b")
        await ready(world, "orders", "0c", 1)
        assert addresses(web) == 2
        done = await world.plane.revoke(revoked("0b"))
        assert done.withdrawn == ("orders-v1-0",)
        assert ended == [frozenset({"0b"})]
        assert addresses(web) == 1
        assert [i.id for i in world.plane.instance_list().instances] == ["orders-v1-1", "web-v1-0"]
        world.store.close()
        assert "orders-v1-0" not in World(tmp_path).plane.registry.entries, "a restart does not bring it back"

    asyncio.run(run())


def test_the_last_instance_is_withdrawn_too(tmp_path: Path) -> None:
    """A lost one stays while its service has no other; one that is revoked does not."""

    async def run() -> None:
        world, _ = await started(tmp_path)
        web = await ready(world, "web", "0a")
        await ready(world, "orders", "0b")
        await world.plane.revoke(revoked("0b"))
        assert addresses(web) == 0

    asyncio.run(run())


def test_an_owner_with_a_new_certificate_comes_back_without_being_withdrawn(tmp_path: Path) -> None:
    async def run() -> None:
        world, ended = await started(tmp_path)
        web = await ready(world, "web", "0a")
        old = await ready(world, "orders", "0b")
        assert (await world.plane.revoke(revoked("0b", gently=True))).withdrawn == ()
        assert ended == [frozenset({"0b"})]
        world.admission.closed(old)
        assert addresses(web) == 1
        await connect(world, "orders", "0c")
        await world.plane.revoke(revoked("0b"))
        assert addresses(web) == 1
        assert world.plane.registry.entries["orders-v1-0"].state == "ready"

    asyncio.run(run())


def test_what_was_sent_on_an_old_connection_arrives_before_its_certificate_is_denied(
    tmp_path: Path, monkeypatch
) -> None:
    """A proxy's ACK says what it sends next; the proxy that it calls may have yet to read what it sent before."""

    async def run() -> None:
        world, _ = await started(tmp_path)
        monkeypatch.setattr(control_plane, "_PATIENCE", 20.0)
        monkeypatch.setattr(control_plane, "_IN_FLIGHT", 0.2)
        web, now = await ready(world, "web", "0a"), asyncio.get_running_loop().time
        world.settle(web)
        revoking = asyncio.ensure_future(world.plane.revoke(revoked("0a", gently=True)))
        while web.snapshots.value is world.plane.publisher.fleet.streams[web.key].acknowledged:
            await asyncio.wait([revoking], timeout=0.01)
        assert not world.plane.publisher.revoked.serials, "nobody has made new connections yet"
        world.settle(web)
        acknowledged = now()
        await revoking
        assert now() - acknowledged >= 0.2
        assert world.plane.publisher.revoked.serials == {"0a"}

    asyncio.run(run())


def test_a_revoked_certificate_opens_no_stream_and_who_has_no_other_is_withdrawn(tmp_path: Path) -> None:
    async def run() -> None:
        world, _ = await started(tmp_path)
        web = await ready(world, "web", "0a")
        old = await ready(world, "orders", "0b")
        await world.plane.revoke(revoked("0b", gently=True))
        with pytest.raises(Rejected, match="its certificate 0b is revoked"):
            await connect(world, "orders", "0b")
        assert addresses(web) == 1, "its stream is up, so it is a thief who asks"
        world.admission.closed(old)
        with pytest.raises(Rejected, match="is revoked"):
            await connect(world, "orders", "0b")

        async def withdrawn() -> bool:
            return addresses(web) == 0

        assert await until(withdrawn, 20)
        info = StreamInfo("hds", "web-v1-0", metadata(world.plane.registry.entries["web-v1-0"].node), None, "0b")
        with pytest.raises(Rejected):
            await world.admission.admit_health(info)

    asyncio.run(run())


def test_a_stream_that_is_admitted_while_its_certificate_is_revoked_ends(tmp_path: Path) -> None:
    async def run() -> None:
        world, _ = await started(tmp_path)
        async with world.plane._persister._saving:
            joining = asyncio.ensure_future(connect(world, "orders", "0b"))
            await eventually("it has a stream", lambda: world.plane.publisher.fleet.streams or joining.done())
            revoking = asyncio.ensure_future(world.plane.revoke(revoked("0b", gently=True)))
            await eventually("it is revoked", lambda: world.plane.publisher.revoked.serials or revoking.done())
        with pytest.raises(Rejected, match="is revoked"):
            await joining
        await revoking
        assert world.plane.publisher.fleet.streams == {}

    asyncio.run(run())


def test_a_host_that_has_read_an_older_list_takes_nobody_off(tmp_path: Path) -> None:
    async def run() -> None:
        world, _ = await started(tmp_path)

        async def after(*serials: str, number: int) -> set[str]:
            await world.plane.revoke(revoked(*serials, number=number))
            return set(world.plane.publisher.revoked.serials)

        assert await after("0a", number=7) == {"0a"}
        assert await after("0a", "0b", number=8) == {"0a", "0b"}
        assert await after("0a", number=7) == {"0a", "0b"}
        assert await after("0a", number=8) == {"0a", "0b"}
        world.store.close()
        world = World(tmp_path)
        assert await after("0a", number=7) == {"0a", "0b"}, "what was read before the restart is not known"
        assert await after("0b", number=9) == {"0b"}

    asyncio.run(run())


def listeners(world: World, service: str) -> dict[str, str]:
    node = InstanceSpec(f"{service}-v1-0", service, "v1", "1", "127.64.1.1", 15006, app_port=20000)
    snapshot = world.plane.publisher.snapshot(node)
    return {name: resource.version for name, resource in snapshot.of_type(LISTENER).items()}


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ({"owners": {"0a": "web"}, "gently": True}, {"cache/inbound"}),
        ({"owners": {"0a": "orders"}}, {"queue/inbound"}),
        ({"owners": {"0a": "queue"}, "gently": True}, set()),
        ({"owners": {"0a": "queue"}}, {"orders/outbound/queue"}),
        ({}, {"cache/inbound", "queue/inbound", "orders/outbound/queue", "web/outbound/cache"}),
    ],
    ids=["who calls", "who calls another", "who is called, and goes on", "who is called", "nobody knows who"],
)
def test_listeners_of_tcp_drain_where_the_owner_may_have_connections(tmp_path: Path, said, changed) -> None:
    async def run() -> None:
        world, _ = await started(tmp_path)
        services = ("web", "orders", "cache", "queue")

        def seen() -> dict[str, str]:
            found = {s: listeners(world, s) for s in services}
            return {f"{s}/{name}": version for s in services for name, version in found[s].items()}

        before = seen()
        await world.plane.revoke(revoked("0a", number=1, **said))
        after = seen()
        assert {name for name in before if before[name] != after[name]} == changed
        await world.plane.revoke(revoked(number=2))
        assert seen() == after, "the end of a certificate drains nothing"
        await world.apply(MESH + "  mail: {protocol: http, port: 8080}\n")
        assert seen() == after, "nor does another mesh"
        world.store.close()
        world = World(tmp_path)
        assert seen() == after, "nor a restart"

    asyncio.run(run())
