"""Stock Envoys that run what compile wrote, with apps of ours behind them; one block of loopback a process."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.runtime import binaries
from legation.runtime.tasks import until
from legation.sidecar.environment import envoy_environment
from legation.sidecar.modules import lines_module
from tests.xds_server.compile.authority import Authority
from tests.xds_server.compile.rendition import asking, static_file, write_assignments
from xds_server.compile import BootstrapInput, Compiler, bootstrap
from xds_server.compile.unavailable import Outage
from xds_server.endpoint import Endpoint
from xds_server.snapshot import Snapshot

LIMIT = 15.0
START_LIMIT = 60.0
"""An Envoy waits 5 s for a certificate of the gateway that is missing, and a busy machine takes its time."""
APP_PORT = 20000


def address(slot: int) -> str:
    """Return a loopback address of this process alone."""
    pid = os.getpid()
    return f"127.{191 + (pid >> 8) % 63}.{pid & 255}.{10 + slot}"


def wait_for(condition: Callable[[], bool], limit: float = LIMIT) -> None:
    async def holds() -> bool:
        return condition()

    assert asyncio.run(until(holds, limit, every=0.02)), "the condition did not come about"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with 5, connections beyond them are still on their way when the next test begins

    def get_request(self):
        connection, peer = super().get_request()
        self.connections = [*getattr(self, "connections", []), connection]
        return connection, peer

    def close_connections(self) -> None:
        for connection in getattr(self, "connections", []):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class App:
    """An HTTP/1.1 app that remembers what it was asked, and answers as the test says, while its gate is open."""

    def __init__(self, host: str, name: str) -> None:
        self.host, self.name, self.gate = host, name, Event()
        self.gate.set()
        self.reset()
        self.start()

    def reset(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        self.seen: list[Any] = []

    def start(self) -> None:
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("transfer-encoding"):
                    self.skip_chunks()
                app.seen.append(
                    (self.command, self.path, {k.lower(): ",".join(self.headers.get_all(k, [])) for k in self.headers})
                )
                app.gate.wait(LIMIT)
                body = app.name.encode()
                self.send_response(app.status)
                for name, value in {**app.headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def skip_chunks(self) -> None:
                while size := int(self.rfile.readline() or b"0", 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()

            do_GET = do_POST = do_PUT = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server((self.host, APP_PORT), Handler)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Die: the port is closed, and so is every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()


@dataclass
class Fleet:
    """Add nodes, then run them. `extra` are endpoints that no Envoy of ours serves.

    Those in `absent` and `unwell` are not told, or told so; `tell` tells all again. `program` is another Envoy than
    the stock one, which lacks parts of ours. Names are asked for at `dns_port`, where there is one.
    """

    text: str
    folder: Path
    nodes: dict[str, InstanceSpec] = field(default_factory=dict)
    extra: dict[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    outages: dict[str, Outage] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    unwell: set[str] = field(default_factory=set)
    logs_socket: str = ""
    program: Path = field(default_factory=binaries.envoy)
    lacks: tuple[str, ...] = ()
    lines_module: str = field(default_factory=lines_module)
    dns_port: int = 0

    def __post_init__(self) -> None:
        self.mesh = load(self.text, str(self.folder / "mesh.yaml"))
        self.authority = Authority("mesh")
        self.compiler = Compiler(self.mesh)

    def add(self, service: str, version: str = "v1", zone: str = "") -> InstanceSpec:
        at = address(len(self.nodes))
        name = f"{service}-{version}" + (f"-{zone}" if zone else "")
        self.nodes[name] = InstanceSpec(
            name, service, version, "1", at, names.INBOUND_PORT,
            app_address=at, app_port=APP_PORT, metrics_port=names.METRICS_PORT, zone=zone, lacks=self.lacks,
            log="otlp" if self.logs_socket else "stdout", in_environment=True,
            lines_module=self.lines_module,
        )  # fmt: skip
        return self.nodes[name]

    def secrets(self, service: str) -> Path:
        identity = names.spiffe_id(self.mesh.mesh.trust_domain, service)
        return self.authority.issue(identity, self.folder / "secrets" / service)

    def admin(self, name: str) -> str:
        return str(self.folder / f"{name}.sock")

    def stat(self, name: str, stat: str) -> int:
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.admin(name)), base_url="http://envoy") as admin:
            text = admin.get("/stats", params={"filter": f"^{stat}$"}).text
        return int(text.partition(": ")[2] or 0)

    def outbound(self, caller: str, callee: str) -> str:
        node = self.nodes[caller]
        called = [c.service for c in self.mesh.mesh.services[node.service].calls]
        return f"{node.address}:{names.outbound_ports(called, {})[callee]}"

    @contextmanager
    def running(self) -> Iterator["Fleet"]:
        started: list[subprocess.Popen] = []
        try:
            started.extend(self._start(node) for node in self.nodes.values())
            for name in self.nodes:
                wait_for(partial(self._is_live, name), START_LIMIT)
            yield self
        finally:
            for envoy in started:
                envoy.kill()
            for envoy in started:
                envoy.wait()

    def tell(self) -> None:
        """Tell every node of the endpoints as they are now."""
        for node in self.nodes.values():
            write_assignments(self._snapshot(node), self.folder / f"{node.id}-endpoints")

    def _snapshot(self, node: InstanceSpec) -> Snapshot:
        return self.compiler.snapshot(node, self._endpoints(), self.outages)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _start(self, node: InstanceSpec) -> subprocess.Popen:
        given = BootstrapInput(
            node, self.mesh.mesh.trust_domain, "127.0.0.1", 1, "/nowhere", self.admin(node.id),
            self.mesh.mesh.metrics.is_full, self.logs_socket,
        )  # fmt: skip
        file = self.folder / f"{node.id}.json"
        snapshot, endpoints = self._snapshot(node), self.folder / f"{node.id}-endpoints"
        write_assignments(snapshot, endpoints)
        text = bootstrap(given) if not self.dns_port else asking(bootstrap(given), self.dns_port)
        file.write_text(static_file(text, snapshot, self.secrets(node.service), endpoints))
        with (self.folder / f"{node.id}.log").open("w") as log:
            quick = ["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "50"]
            command: list[str | Path] = [self.program, "-c", file, "-l", "warning", *quick]
            return subprocess.Popen(command, stdout=log, stderr=log, env=envoy_environment(os.environ, node))

    def _endpoints(self) -> dict[str, tuple[Endpoint, ...]]:
        found: dict[str, tuple[Endpoint, ...]] = dict(self.extra)
        for node in self.nodes.values():
            if node.id in self.absent:
                continue
            endpoint = Endpoint(node.id, node.version, node.address, node.port, node.id not in self.unwell, node.zone)
            found[node.service] = (*found.get(node.service, ()), endpoint)
        return found

    def _is_live(self, name: str) -> bool:
        try:
            return self.stat(name, "server.live") == 1
        except httpx.HTTPError:
            return False


@contextmanager
def shop(fleet: Fleet, outside: int | None = None) -> Iterator[dict[str, App]]:
    """Run web and orders with their apps behind a gateway; with a slot for it, `bank` outside of the mesh too."""
    nodes = [fleet.add("web"), fleet.add("orders")]
    fleet.add(names.GATEWAY)
    apps = {node.service: App(node.address, node.id) for node in nodes}
    if outside is not None:
        apps["bank"] = App(address(outside), "bank")
    with fleet.running():
        yield apps
    for app in apps.values():
        app.stop()
