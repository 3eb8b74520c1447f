"""Our own server, by the library's own API, and its adapter: `python -m tests.conformance.ours`.

It prints "control HOST:PORT", and ends when its stdin does. What the control port takes is said in `target`.
"""

import asyncio
import base64
import gc
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from legation.runtime.tasks import until
from xds_server import (
    Admitted,
    Effect,
    Identity,
    Latest,
    Rejected,
    Resource,
    Server,
    Snapshot,
    SnapshotCache,
    Source,
    StreamInfo,
    serve,
)
from xds_server.protocol.stream import XdsStream


class Guarded:
    """A cache of which each node gets its own alone: its certificate must be its own, and not revoked."""

    def __init__(self, cache: SnapshotCache, revoked: set[str]) -> None:
        self._cache, self._revoked = cache, revoked

    async def admit(self, info: StreamInfo) -> Admitted:
        if not (info.peer or "").endswith(f"/{info.node_id}"):
            raise Rejected(f"the certificate is for {info.peer}, not for {info.node_id}")
        if info.serial in self._revoked:
            raise Rejected(f"certificate {info.serial} is revoked")
        return await self._cache.admit(info)

    def observe(self, stream: Admitted, effect: Effect) -> None:
        self._cache.observe(stream, effect)

    def closed(self, stream: Admitted) -> None:
        self._cache.closed(stream)


class Running:
    """One server, with a cache of its own."""

    def __init__(self, open_: AsyncExitStack, cache: SnapshotCache, server: Server) -> None:
        self.open, self.cache, self.server = open_, cache, server


class Adapter:
    """The servers that run, and what was put."""

    def __init__(self) -> None:
        self._snapshots: dict[str, list[dict]] = {}
        self._servers: dict[str, Running] = {}
        self._answers: dict[str, list[dict]] = {}
        self._revoked: set[str] = set()

    async def start(self, tls: dict | None) -> str:
        cache = SnapshotCache()
        for node, resources in self._snapshots.items():
            cache.set(node, _snapshot(resources))
        source: Source = cache
        identity: Latest[Identity | None] | None = None
        if tls is not None:
            source = Guarded(cache, self._revoked)
            pem = (tls[name].encode() for name in ("certificate", "key", "ca"))
            identity = Latest(Identity.of(*pem))
        open_ = AsyncExitStack()
        serving = serve(
            source, "127.0.0.1:0", identity=identity, on_ack=self._answered, on_nack=self._answered, grace=1.0
        )
        server = await open_.enter_async_context(serving)
        self._servers[server.address] = Running(open_, cache, server)
        return server.address

    def _answered(self, info: StreamInfo, answer) -> None:
        said = {"type_url": answer.type_url, "error": getattr(answer, "error", None)}
        self._answers.setdefault(info.node_id, []).append(said)

    async def stop(self, address: str) -> None:
        await self._servers.pop(address).open.aclose()

    async def stop_all(self) -> None:
        for address in list(self._servers):
            await self.stop(address)

    async def put(self, request: Request) -> Response:
        node = request.path_params["node"]
        resources = (await request.json())["resources"]
        self._snapshots[node] = resources
        for running in self._servers.values():
            running.cache.set(node, _snapshot(resources))
        return Response()

    async def node(self, request: Request) -> Response:
        node = request.path_params["node"]
        servers = [running.server for running in self._servers.values()]
        behind = [one.reason for server in servers for one in server.unsynced() if one.node == node]
        return JSONResponse({"answers": self._answers.get(node, []), "behind": "; ".join(behind)})

    async def load(self, _: Request) -> Response:
        """Streams that are open, and protocol cores that are still in memory: what a leak would leave."""
        gc.collect()
        cores = sum(isinstance(thing, XdsStream) for thing in gc.get_objects())
        streams = sum(len(running.cache.connected()) for running in self._servers.values())
        return JSONResponse({"streams": streams, "watches": cores})

    async def more(self, request: Request) -> Response:
        return JSONResponse({"address": await self.start((await request.json())["tls"])})

    async def fewer(self, request: Request) -> Response:
        await self.stop(request.path_params["address"])
        return Response()

    async def revoke(self, request: Request) -> Response:
        serial = (await request.json())["serial"]
        self._revoked.add(serial)
        for running in self._servers.values():
            running.server.end(lambda info: info.serial == serial, f"certificate {serial} is revoked")
        return Response()


def _snapshot(resources: list[dict]) -> Snapshot:
    return Snapshot.of(
        Resource.of(
            one["type_url"],
            one["name"],
            base64.b64decode(one["body"]),
            ttl=timedelta(seconds=one["ttl"]) if one["ttl"] else None,
        )
        for one in resources
    )


@asynccontextmanager
async def control(adapter: Adapter, first: str):
    """The control port, while the block runs; yields its address."""

    async def what(_: Request) -> Response:
        return JSONResponse({"name": "legation xds_server", "address": first})

    routes = [
        Route("/", what),
        Route("/snapshots/{node}", adapter.put, methods=["PUT"]),
        Route("/nodes/{node}", adapter.node),
        Route("/load", adapter.load),
        Route("/servers", adapter.more, methods=["POST"]),
        Route("/servers/{address}", adapter.fewer, methods=["DELETE"]),
        Route("/revocations", adapter.revoke, methods=["POST"]),
    ]
    http = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=0, log_level="warning"))
    async with asyncio.TaskGroup() as group:
        group.create_task(http.serve(), name="control")

        async def started() -> bool:
            return http.started

        assert await until(started, 10, every=0.01), "the control port did not open"
        host, port = http.servers[0].sockets[0].getsockname()
        yield f"{host}:{port}"
        http.should_exit = True


async def main() -> None:
    adapter = Adapter()
    first = await adapter.start(None)
    async with control(adapter, first) as address:
        print(f"control {address}", flush=True)  # noqa: T201 - what the kit waits for
        await asyncio.to_thread(sys.stdin.read)
        await adapter.stop_all()


if __name__ == "__main__":
    asyncio.run(main())
