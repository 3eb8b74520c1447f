"""xds_server as others use it: through what it exports, without a mesh."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

import xds_server
from tests.xds_server.serve.world import Call, dial, seen
from xds_server import NotConverged, Resource, Snapshot, SnapshotCache, StreamInfo, serve
from xds_server.serve.servicers import SERVICES
from xds_server.snapshot import CLUSTER, LISTENER

CDS, EDS, LDS, RDS = (
    f"/{name}/Delta{what}" for short, name, what, _ in SERVICES if short in {"cds", "eds", "lds", "rds"}
)
DOCS = Path(__file__).parents[2] / "docs" / "library.md"


def with_server(script, cache=None, **callbacks):
    async def main():
        used = cache or SnapshotCache()
        async with serve(used, "127.0.0.1:0", grace=0.1, **callbacks) as server, dial(server.address) as channel:
            await script(used, server, channel)

    asyncio.run(main())


def cluster(*names: str) -> Snapshot:
    return Snapshot.of(clusters=[Cluster(name=name) for name in names])


async def answer(call: Call, **fields) -> None:
    response = await call.read()
    await call.send(type_url=response.type_url, response_nonce=response.nonce, **fields)


def test_the_example_of_the_documentation_runs(capsys):
    (text,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(text.splitlines()) < 30

    async def client_of(address):
        channel = await stack.enter_async_context(dial(address))
        call = Call(channel)
        await call.send("web-1", type_url=CLUSTER)
        await answer(call, error_detail={"message": "not mine"})
        calls.append(call)
        await seen(lambda: bool(capsys_has()))

    said = []

    def capsys_has():
        said.append(capsys.readouterr().out)
        return "not mine" in "".join(said)

    from contextlib import AsyncExitStack

    stack, calls = AsyncExitStack(), []
    world: dict[str, Any] = {"client_of": client_of}
    exec(text.replace(":18000", ":0"), world)

    async def run():
        async with stack:
            await world["main"]()

    asyncio.run(run())
    out = "".join(said) + capsys.readouterr().out
    assert "serving 127.0.0.1:" in out
    assert "web-1 not mine" in out
    assert "web-1 (ads) NACKs Cluster: not mine" in out


def test_it_needs_nothing_of_a_mesh():
    code = "import sys, xds_server; print(*sorted(m for m in sys.modules if m.startswith('legation') or '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "ruamel", "starlette", "prometheus_client", "sqlite3", "hvac"} & set(loaded)
    mesh = {name for name in loaded if name.startswith("legation.mesh.")}
    assert mesh <= {"legation.mesh.names"}


@pytest.mark.parametrize("name", xds_server.__all__)
def test_everything_it_exports_says_what_it_is(name):
    assert name == "Effect" or getattr(xds_server, name).__doc__
    assert f"`{name}" in DOCS.read_text() or f"{name}." in DOCS.read_text()


def test_answers_are_reported_and_converged_says_who_has_not_followed_and_why():
    acks, nacks = [], []

    async def script(cache, server, channel):
        cache.set("a", cluster("one"))
        cache.set("b", cluster("one"))
        good, bad, lost = Call(channel), Call(channel), Call(channel)
        await good.send("a", type_url=CLUSTER)
        await bad.send("b", type_url=CLUSTER)
        await answer(good)
        with pytest.raises(NotConverged) as slow:
            await server.converged(timeout=0.2)
        assert str(slow.value) == "b (ads) has not answered Cluster"
        await answer(bad, error_detail={"message": "no"})
        with pytest.raises(NotConverged) as refused:
            await server.converged(timeout=60)
        assert str(refused.value) == "b (ads) NACKs Cluster: no"
        cache.set("b", cluster("two"))
        task = asyncio.ensure_future(server.converged(timeout=10))
        await answer(bad)
        await answer(bad)
        await task
        assert server.unsynced() == ()
        await lost.send("nobody", type_url=CLUSTER)
        await seen(lambda: [str(s) for s in server.unsynced()] == ["nobody (ads) nothing is set for it"])

    with_server(script, on_ack=lambda n, a: acks.append((n.node_id, a)), on_nack=lambda n, a: nacks.append((n, a)))
    assert [(node, ack.type_url, ack.names) for node, ack in acks[:2]] == [
        ("a", CLUSTER, ("one",)),
        ("b", CLUSTER, ("two",)),
    ]
    ((node, nack),) = nacks
    assert (node.node_id, nack.names, nack.error) == ("b", ("one",), "no")


SOURCE = {"resource_api_version": "V3", "ads": {}}


def listener(route: str) -> Listener:
    """A listener whose routes come by RDS."""
    manager = HttpConnectionManager(rds={"route_config_name": route, "config_source": SOURCE})
    one: Filter = Filter(name="http")
    one.typed_config.Pack(manager)
    return Listener(name="in", filter_chains=[FilterChain(filters=[one])])


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [(CDS, EDS, "has not asked for the endpoints of web"), (LDS, RDS, "has not asked for the routes of web")],
    ids=["endpoints", "routes"],
)
def test_a_client_of_separate_services_has_followed_once_it_has_asked_for_what_it_needs(first, then, said):
    """Envoy ACKs a cluster before it asks for its endpoints, and a listener before its routes."""
    rest = {
        "endpoints": [ClusterLoadAssignment(cluster_name=name) for name in ("web", "b", "of no cluster")],
        "routes": [RouteConfiguration(name=name) for name in ("web", "b", "of no listener")],
    }

    async def script(cache, server, channel):
        cache.set("web-1", Snapshot.of(clusters=[Cluster(name="web")], listeners=[listener("web")], **rest))
        call = Call(channel, first)
        await call.send("web-1")
        await answer(call)
        with pytest.raises(NotConverged, match=said):
            await server.converged(0.2)
        other = Call(channel, then)
        await other.send("web-1", resource_names_subscribe=["web"])
        await answer(other)
        await server.converged(20)
        clusters = [Cluster(name="web"), Cluster(name="b")]
        cache.set("web-1", Snapshot.of(clusters=clusters, listeners=[listener("b")], **rest))
        await answer(call, error_detail={"message": "no"})
        async with asyncio.timeout(20):  # what it has refused it will not ask anything for
            with pytest.raises(NotConverged, match="NACKs"):
                await server.converged(60)

    with_server(script)


def test_a_node_waits_until_something_is_set_and_keeps_what_it_has_when_that_is_cleared():
    async def script(cache, server, channel):
        call = Call(channel)
        await call.send("a", type_url=CLUSTER)
        await seen(lambda: cache.connected() == {"a"})
        cache.set("a", cluster("one"))
        await answer(call)
        cache.clear("a")
        assert cache.get("a") is None
        cache.set("a", cluster("one", "two"))
        response = await call.read()
        assert [r.name for r in response.resources] == ["two"]
        call.call.cancel()
        await seen(lambda: cache.connected() == frozenset())
        cache.clear("a")
        cache.clear("nobody")
        assert cache._snapshots == {}

    with_server(script)


def test_a_client_that_nothing_is_set_for_leaves_nothing():
    async def script(cache, server, channel):
        for n in range(5):
            call = Call(channel)
            await call.send(f"n{n}", type_url=CLUSTER)
            await seen(lambda: len(cache.connected()) == 1)
            call.call.cancel()
            await seen(lambda: not cache.connected())
        assert (cache._snapshots, cache._streams, dict(cache._open)) == ({}, {}, {})

    with_server(script)


def test_one_snapshot_may_be_for_many_nodes():
    cache = SnapshotCache(lambda node: "all")
    cache.set("all", cluster("one"))

    async def script(cache, server, channel):
        for name in ("a", "b"):
            call = Call(channel)
            await call.send(name, type_url=CLUSTER)
            assert [r.name for r in (await call.read()).resources] == ["one"]

    with_server(script, cache)


def test_protos_become_resources_with_versions_by_content():
    one = Snapshot.of(clusters=[Cluster(name="a")], listeners=[Listener(name="a")])
    again = Snapshot.of([Resource.pack(Listener(name="a"), source="here")], clusters=[Cluster(name="a")])
    assert one == again
    assert one.of_type(LISTENER).version == again.of_type(LISTENER).version
    assert again.of_type(LISTENER)["a"].source == "here"
    with pytest.raises(ValueError, match="without a name"):
        Snapshot.of(clusters=[Cluster()])
    with pytest.raises(ValueError, match=r"Cluster are named 'a'"):
        Snapshot.of(clusters=[Cluster(name="a"), Cluster(name="a")])


def test_a_source_of_ones_own_may_reject():
    class Closed(SnapshotCache):
        async def admit(self, info: StreamInfo):
            raise xds_server.Rejected(f"{info.node_id} is not known here")

    async def script(cache, server, channel):
        call = Call(channel)
        await call.send("stranger", type_url=CLUSTER)
        assert (await call.end())[1] == "stranger is not known here"

    with_server(script, Closed())
