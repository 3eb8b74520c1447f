"""How a gateway's Envoy is replaced: ours, several on one port that let go of it one by one, against hot restart.

Each case replaces or kills Envoys as clients make new connections and hold old ones, and counts what those lose.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Figure
from legation.runtime import binaries
from legation.runtime.tasks import pause, until
from legation.sidecar import handover
from legation.sidecar.admin import Admin

ANSWER = "ok\n"
CLIENTS = 20
"""Clients that connect anew for each request, and as many that keep their connection while they may."""
SETTLE = 1.5
"""Seconds of load before and after each step."""
DRAIN = 2
BASE_ID = 40_000


class Envoy:
    """One stock Envoy that answers each request by itself."""

    def __init__(self, folder: Path, name: str, port: int, *, shared: bool) -> None:
        """Prepare; `shared` has several listen on the port."""
        self.socket = folder / f"{name}.sock"
        self.admin = Admin(self.socket)
        self._bootstrap = folder / f"{name}.json"
        self._bootstrap.write_text(json.dumps(bootstrap(self.socket, port, shared=shared)))

    async def start(self, *more: str) -> None:
        """Start it; return when its listener is up."""
        argv = [str(binaries.envoy()), "-c", str(self._bootstrap), "--concurrency", "1", "--log-level", "error"]
        argv += ["--drain-time-s", str(DRAIN), "--parent-shutdown-time-s", str(DRAIN + 1), *more]
        self.process = await asyncio.create_subprocess_exec(*argv, stderr=sys.stderr)
        if not await until(self._up, limit=10):
            raise TimeoutError("Envoy is not up within 10 s")

    async def _up(self) -> bool:
        return await self.admin.is_ready("gateway")

    async def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def bootstrap(admin: Path, port: int, *, shared: bool) -> dict[str, object]:
    """Return a listener that answers 200 to everything."""
    kind = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": ANSWER}}}
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "gateway",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "traffic_direction": "INBOUND",
        "enable_reuse_port": shared,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {"listeners": [listener]},
    }


class Clients:
    """Requests without pause from many clients; what they lost, by kind."""

    def __init__(self, port: int) -> None:
        """Prepare to load a port of loopback."""
        self._port = port
        self.total, self.failed = 0, 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Send until `stop`."""
        fresh = (self._client(keep=False) for _ in range(CLIENTS))
        await asyncio.gather(*fresh, *(self._client(keep=True) for _ in range(CLIENTS)))

    def stop(self) -> None:
        """Have every client end after its request."""
        self._stop.set()

    async def _client(self, *, keep: bool) -> None:
        while not self._stop.is_set():
            try:
                await self._connection(keep=keep)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self.total += 1
                self.failed += 1
                await pause(0.01)

    async def _connection(self, *, keep: bool) -> None:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            close = False
            while not close and not self._stop.is_set():
                close = await self._request(reader, writer, keep=keep) or not keep
                await pause(0.02)
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool) -> bool:
        """Send one request; say whether the server closes the connection after it."""
        async with asyncio.timeout(10):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" + (b"" if keep else b"connection: close\r\n") + b"\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(len(ANSWER))
        self.total += 1
        self.failed += not head.startswith(b"http/1.1 200")
        return b"connection: close" in head


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def replace_shared(start: "Start") -> None:
    """Two Envoys on one port: each in turn gets a successor first, then lets go of the port."""
    running = [await start("one", shared=True), await start("two", shared=True)]
    await pause(SETTLE)
    for old in running:
        await start(f"after-{old.socket.stem}", shared=True)
        await _let_go(old)
        await pause(DRAIN)
        old.process.terminate()
        await old.process.wait()
        await pause(SETTLE)


async def _let_go(envoy: Envoy) -> None:
    """Let go of the port as legation/sidecar/ending.py does."""
    await envoy.admin.drain_listeners()
    sockets = handover.listening_sockets(envoy.process.pid, 0)
    for sock in sockets.values():
        handover.refuse_new(sock)

    async def accepted() -> bool:
        return not handover.waiting(sockets)

    await until(accepted, limit=0.5, every=0.002)
    await envoy.admin.stop_listeners()
    for sock in sockets.values():
        sock.close()


async def replace_hot(start: "Start") -> None:
    """One Envoy at a time, each taking the sockets of the one before it (Envoy: operations/hot_restart)."""
    base = str(BASE_ID + os.getpid() % 10_000)
    for epoch in range(3):
        await start(f"epoch-{epoch}", "--restart-epoch", str(epoch), "--base-id", base)
        await pause(SETTLE + (DRAIN + 1 if epoch else 0))


async def kill_shared(start: "Start") -> None:
    """Kill one of two Envoys on a port; it is started again."""
    first, _ = await start("one", shared=True), await start("two", shared=True)
    await pause(SETTLE)
    await first.kill()
    await start("again", shared=True)
    await pause(SETTLE)


async def kill_alone(start: "Start") -> None:
    """Kill the only Envoy on a port; it is started again. Hot restart has nobody left to take the sockets from."""
    alone = await start("alone")
    await pause(SETTLE)
    await alone.kill()
    await start("again")
    await pause(SETTLE)


class Start:
    """Starts the Envoys of one run, which end with it."""

    def __init__(self, stack: AsyncExitStack, folder: Path, port: int) -> None:
        """Have them listen on one port."""
        self._stack, self._folder, self._port = stack, folder, port

    async def __call__(self, name: str, *more: str, shared: bool = False) -> Envoy:
        """Start one more, with further arguments; return when it takes requests."""
        envoy = Envoy(self._folder, name, self._port, shared=shared)
        self._stack.push_async_callback(envoy.kill)
        await envoy.start(*(more or ("--disable-hot-restart",)))
        return envoy


async def _lost(way: Callable[[Start], Awaitable[None]]) -> tuple[int, int]:
    """Return how many requests failed, of how many, while an Envoy is replaced in a way."""
    port = free_port()
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            clients = Clients(port)
            loading = asyncio.ensure_future(_when_up(clients, port))
            await way(Start(stack, Path(folder), port))
            clients.stop()
            await loading
    return clients.failed, clients.total


async def _when_up(clients: Clients, port: int) -> None:
    """Send as soon as something listens."""

    async def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await until(listens, limit=10)
    await clients.run()


CASES = {"replace": (replace_shared, replace_hot), "kill": (kill_shared, kill_alone)}


async def figures(rounds: int) -> AsyncIterator[Figure]:
    """Yield the requests lost by each way, ours and hot restart's in turn."""
    for case, ways in CASES.items():
        ours: list[tuple[int, int]] = []
        peer: list[tuple[int, int]] = []
        for _ in range(rounds):
            for way, samples in zip(ways, (ours, peer), strict=True):
                samples.append(await _lost(way))
        totals = ", ".join(f"{name} {sum(t for _, t in found)}" for name, found in (("ours", ours), ("peer", peer)))
        yield Figure(
            "handover", case, "failed requests", [f for f, _ in ours], [f for f, _ in peer], note=f"of {totals}"
        )
