"""How a stock Envoy asks its app over HDS whether it is well, as compile says: in HTTP/1, HTTP/2, gRPC and TCP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.runtime import binaries
from legation.runtime.tasks import Latest
from tests.support.envoys import VERSIONS, envoy
from tests.xds_server.serve.envoy import free_port, running
from tests.xds_server.serve.world import Consumer, seen
from xds_server.compile.health_check import specifier
from xds_server.compile.pack import serialize
from xds_server.prove.capabilities import capabilities
from xds_server.serve.server import serve
from xds_server.snapshot import Snapshot

CHECK = "{path: /healthz, interval: 100ms, timeout: 1s, unhealthy_threshold: 2}"
MESH = f"""
mesh: health
trust_domain: health.local
services:
  http: {{protocol: http, port: 80, health_check: {CHECK}}}
  http2: {{protocol: http2, port: 80, health_check: {CHECK}}}
  grpc: {{protocol: grpc, port: 80, health_check: {CHECK.replace("path: /healthz, ", "")}}}
  tcp: {{protocol: tcp, port: 80, health_check: {CHECK.replace("path: /healthz, ", "")}}}
  bare: {{protocol: http, port: 80}}
"""
NODE = """
const server = require(process.argv[2]).createServer((request, answer) => {
  answer.statusCode = request.url === '/healthz' && require('fs').existsSync(process.argv[3]) ? 503 : 200;
  answer.end();
});
server.listen(+process.argv[1], '127.0.0.1');
"""
"""The app: it is ill while a file is there."""


class Health(grpc.GenericRpcHandler):
    """grpc.health.v1: SERVING is 1 in field 1, NOT_SERVING 2."""

    def __init__(self, sick: Path) -> None:
        self._sick = sick

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        async def check(_: bytes, __: object) -> bytes:
            return b"\x08\x02" if self._sick.exists() else b"\x08\x01"

        return grpc.unary_unary_rpc_method_handler(check) if details.method == "/grpc.health.v1.Health/Check" else None


@asynccontextmanager
async def app(kind: str, port: int, sick: Path) -> AsyncIterator[Callable[[], None]]:
    """Run an app; gives what ends it."""
    if kind == "grpc":
        server = grpc.aio.server(handlers=[Health(sick)])
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        yield sick.touch
        await server.stop(None)
        return
    if kind in {"tcp", "bare"}:
        listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        yield listening.close
        listening.close()
        return
    process = await asyncio.create_subprocess_exec(binaries.node(), "-e", NODE, str(port), kind, str(sick))
    try:
        yield sick.touch
    finally:
        process.kill()
        await process.wait()


PATIENT = MESH.replace("unhealthy_threshold: 2", "unhealthy_threshold: 100")
"""Ten seconds of checks in a row."""


def test_what_an_app_says_counts_at_once_and_its_silence_by_the_threshold(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for kind, patience in (("http", False), ("http2", False), ("grpc", False), ("tcp", True)):
                (tmp_path / kind).mkdir()
                group.create_task(flaps(tmp_path / kind, kind, patience))

    asyncio.run(main())


async def flaps(folder: Path, kind: str, patience: bool) -> None:
    """See an app fall ill: known long before the threshold, or, with patience, not by some reports after it."""
    async with asking(folder, kind, PATIENT) as (consumer, port), app(kind, port, folder / "sick") as ill:
        await seen(lambda: consumer.reports[-1:] == [True], 30)
        ill()
        known = len(consumer.reports)
        await seen(lambda: len(consumer.reports) >= known + 4, 30)
        assert consumer.reports[-1] is patience


def test_an_app_is_asked_in_its_own_protocol(tmp_path: Path) -> None:
    """All of them at once, each by an Envoy of its own."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for kind in ("http", "http2", "grpc", "tcp", "bare"):
                (tmp_path / kind).mkdir()
                group.create_task(is_asked(tmp_path / kind, kind))

    asyncio.run(main())


@asynccontextmanager
async def asking(
    folder: Path, kind: str, mesh: str = MESH, version: str = VERSIONS[-1]
) -> AsyncIterator[tuple[Consumer, int]]:
    """Run an Envoy that asks; gives who hears what it finds, and the port of the app that is not there yet.

    `bare` is a standalone proxy of a service without a check: whether its app listens is asked all the same.
    """
    port = free_port()
    node = InstanceSpec("web-v1-0", kind, "v1", "1", "127.0.0.1", app_port=port, standalone=kind == "bare")
    node = replace(node, lacks=(await capabilities(envoy(version))).lacks)
    asked = specifier(node, load(mesh, "mesh.yaml").mesh.services[kind])
    assert len(asked.cluster_health_checks) == 1
    consumer = Consumer(Latest(Snapshot.of(())), Latest(serialize(asked)))
    async with (
        serve(consumer, address=folder / "xds.sock", health=consumer, grace=0.2),
        running(folder, hds=True, program=envoy(version)),
    ):
        await seen(lambda: consumer.reports[-1:] == [False], 30)
        yield consumer, port


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_an_older_envoy_asks_an_app_of_grpc_what_it_can(tmp_path: Path, version: str) -> None:
    """Envoy 1.36 ends when it is to ask by grpc.health.v1 over HDS; it sees whether the app listens."""

    async def main() -> None:
        async with asking(tmp_path, "grpc", version=version) as (consumer, port):
            async with app("grpc", port, tmp_path / "sick") as ill:
                await seen(lambda: consumer.reports[-1:] == [True], 30)
                ill()
                known = len(consumer.reports)
                await seen(lambda: len(consumer.reports) >= known + 4, 30)
                assert consumer.reports[-1] is (version == "1.36.4")
            await seen(lambda: consumer.reports[-1:] == [False], 30)

    asyncio.run(main())


async def is_asked(folder: Path, kind: str) -> None:
    """See each turn of an app."""
    async with asking(folder, kind) as (consumer, port), app(kind, port, folder / "sick") as ill:
        await seen(lambda: consumer.reports[-1:] == [True], 30)
        ill()
        await seen(lambda: consumer.reports[-1:] == [False], 30)
