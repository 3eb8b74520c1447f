"""grpcio's own xDS client makes real calls by what we say: state of the world, ADS, listeners and clusters by name."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 - for the Any in the JSON
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401 - for the Any in the JSON
)
from google.protobuf.json_format import ParseDict

from legation.runtime.tasks import until
from tests.xds_server.serve.envoy import ADS_SOURCE, HTTP, address
from xds_server import Nacked, NotConverged, Snapshot, SnapshotCache, serve

PROGRAM = Path(__file__).with_name("grpc_client.py")


def cluster(name: str, **fields) -> Cluster:
    eds = {"eds_config": ADS_SOURCE, "service_name": name}
    return ParseDict(
        {"name": name, "type": "EDS", "eds_cluster_config": eds, "lb_policy": "ROUND_ROBIN"} | fields, Cluster()
    )


def endpoints(name: str, *ports: int) -> ClusterLoadAssignment:
    hosts = [{"endpoint": {"address": address(port)}, "health_status": "HEALTHY"} for port in ports]
    locality = {"locality": {"zone": "a"}, "load_balancing_weight": 1, "lb_endpoints": hosts}
    return ParseDict({"cluster_name": name, "endpoints": [locality] if hosts else []}, ClusterLoadAssignment())


def listener(name: str) -> Listener:
    manager = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"config_source": ADS_SOURCE, "route_config_name": "routes"},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"}}],
    }
    return ParseDict({"name": name, "api_listener": {"api_listener": manager}}, Listener())


def routes(to: str) -> RouteConfiguration:
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": ""}, "route": {"cluster": to}}]}
    return ParseDict({"name": "routes", "virtual_hosts": [host]}, RouteConfiguration())


@asynccontextmanager
async def backend(says: str):
    """A gRPC server that says one thing; yields its port."""

    async def who(request: bytes, _) -> bytes:
        return says.encode()

    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Who": grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class Program:
    def __init__(self, process):
        self._process = process

    async def ask(self) -> str:
        self._process.stdin.write(b"who\n")
        async with asyncio.timeout(15):
            return (await self._process.stdout.readline()).decode().strip()

    async def says(self, what: str) -> bool:
        async def same() -> bool:
            return (await self.ask()).startswith(what)

        return await until(same, 10)


@asynccontextmanager
async def client(server_address: str, folder: Path):
    """The program, with a bootstrap for our server."""
    xds = {"server_uri": server_address, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
    (folder / "bootstrap.json").write_text(
        json.dumps({"xds_servers": [xds], "node": {"id": "grpc-1", "cluster": "web"}})
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        "echo.test",
        stdin=pipe,
        stdout=pipe,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(folder / "bootstrap.json"), "no_proxy": "*"},
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        await process.wait()


def talk(tmp_path, script):
    nacks: list[Nacked] = []

    async def main():
        cache = SnapshotCache(lambda node: node.cluster)
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                serve(cache, "127.0.0.1:0", on_nack=lambda _, nack: nacks.append(nack), grace=0.2)
            )
            ports = [await stack.enter_async_context(backend(says)) for says in ("one", "two")]
            program = await stack.enter_async_context(client(server.address, tmp_path))
            await script(lambda *r, **k: cache.set("web", Snapshot.of(*r, **k)), server, program, *ports)

    asyncio.run(main())
    return nacks


def test_calls_go_where_the_snapshot_says_and_follow_its_changes_without_a_failure(tmp_path):
    async def script(publish, server, program, one, two):
        fixed = {"listeners": [listener("echo.test")]}
        a, b = cluster("a"), cluster("b")
        publish(**fixed, clusters=[a], endpoints=[endpoints("a", one)], routes=[routes("a")])
        assert await program.says("one")
        await server.converged(timeout=5)

        got: list[str] = []
        publish(**fixed, clusters=[a], endpoints=[endpoints("a", two)], routes=[routes("a")])
        while got[-1:] != ["two"]:
            got.append(await program.ask())
        publish(**fixed, clusters=[a, b], endpoints=[endpoints("a", two), endpoints("b", one)], routes=[routes("b")])
        while got[-1:] != ["one"]:
            got.append(await program.ask())
        publish(**fixed, clusters=[b], endpoints=[endpoints("b", one)], routes=[routes("b")])
        await server.converged(timeout=5)
        got += [await program.ask() for _ in range(20)]
        assert set(got) == {"one", "two"}

        publish(**fixed, clusters=[b], endpoints=[endpoints("b")], routes=[routes("b")])
        assert await program.says("UNAVAILABLE")
        publish(clusters=[b], endpoints=[endpoints("b", one)], routes=[routes("b")])
        assert await program.says("UNAVAILABLE")
        publish(**fixed, clusters=[b], endpoints=[endpoints("b", one)], routes=[routes("b")])
        assert await program.says("one")

    assert talk(tmp_path, script) == []


def test_29_a_listener_that_comes_later_is_pushed_to_a_client_that_waits_for_it(tmp_path):
    async def script(publish, server, program, one, two):
        publish(listeners=[listener("another")])
        asked = asyncio.ensure_future(program.ask())
        await until_asked(server)
        rest = {"clusters": [cluster("a")], "endpoints": [endpoints("a", one)], "routes": [routes("a")]}
        publish(listeners=[listener("echo.test")], **rest)
        assert await asked == "one"

    assert talk(tmp_path, script) == []


async def until_asked(server):
    """Wait until the client has subscribed, and been told that there is no such listener."""

    async def connected() -> bool:
        await server.converged(timeout=10)
        return bool(server.nodes())

    assert await until(connected, 10)


def test_8_a_refused_cluster_is_reported_and_the_good_one_goes_on(tmp_path):
    async def script(publish, server, program, one, two):
        fixed = {"listeners": [listener("echo.test")], "routes": [routes("a")]}
        publish(**fixed, clusters=[cluster("a")], endpoints=[endpoints("a", one)])
        assert await program.says("one")
        bad = cluster("a", lb_policy="CLUSTER_PROVIDED")
        publish(**fixed, clusters=[bad], endpoints=[endpoints("a", two)])
        with pytest.raises(NotConverged, match=r"grpc-1 \(ads\) NACKs Cluster"):
            await server.converged(timeout=5)
        assert await program.says("two")
        publish(**fixed, clusters=[cluster("a")], endpoints=[endpoints("a", one)])
        await server.converged(timeout=5)
        assert await program.says("one")

    (nack,) = talk(tmp_path, script)
    assert nack.names == ("a",)
    assert "lb policy" in nack.error.lower() or "lb_policy" in nack.error.lower(), nack.error
