"""Apps in containers of their own, as their sidecar's Envoy meets their ends: what is tried again, and what is not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from tests.xds_server.compile.fleet import Fleet, wait_for

MESH = """
mesh: apart
trust_domain: apart.local
services:
  web: {protocol: http, port: 8080, calls: [orders, ledger]}
  orders: {protocol: http, port: 8080, routes: [{timeout: 8s}]}
  ledger: {protocol: grpc, port: 9090, routes: [{timeout: 8s}]}
"""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SETTINGS, HEADERS, RST_STREAM, GOAWAY = 4, 1, 3, 7
END_STREAM_AND_HEADERS, REFUSED_STREAM = 5, 7
STATUS_200 = b"\x88"
"""Its place in HPACK's static table (RFC 7541, appendix A)."""


class App:
    """Takes connections, and has `serve` answer what comes over each; `seen` counts requests."""

    def __init__(self, serve: Callable[["App", socket.socket], None]) -> None:
        self.seen, self.drops, self._serve = 0, 0, serve
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def takes(self) -> bool:
        """Count a request; say whether it is to be answered."""
        self.seen += 1
        self.drops -= 1
        return self.drops < 0

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            self._serve(self, connection)


def plain(app: App, connection: socket.socket) -> None:
    """HTTP/1.1: what is dropped was read, and its connection closed."""
    while data := connection.recv(65536):
        if b"\r\n\r\n" in data:
            if not app.takes():
                return
            connection.sendall(ANSWER)


def http2(app: App, connection: socket.socket) -> None:
    """HTTP/2 by hand: what is dropped was refused (RFC 9113 §8.7)."""
    stream = connection.makefile("rb")
    stream.read(24)
    connection.sendall(_frame(SETTINGS, 0, 0))
    while head := stream.read(9):
        stream.read(int.from_bytes(head[:3]))
        if head[3] != HEADERS:
            continue
        number = int.from_bytes(head[5:9])
        if app.takes():
            connection.sendall(_frame(HEADERS, END_STREAM_AND_HEADERS, number, STATUS_200))
        else:
            connection.sendall(_frame(RST_STREAM, 0, number, REFUSED_STREAM.to_bytes(4)))


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


class World:
    def __init__(self, fleet: Fleet, apps: dict[str, App]) -> None:
        self.fleet, self.apps = fleet, apps

    def ask(self, method: str, service: str = "orders") -> httpx.Response:
        url = f"http://{self.fleet.outbound('web-v1', service)}/"
        return httpx.request(method, url, content=b"x" if method == "POST" else None, timeout=12, trust_env=False)


@contextmanager
def dropping(app: App, times: int) -> Iterator[None]:
    """Have the app drop the next requests."""
    app.seen, app.drops = 0, times
    try:
        yield
    finally:
        app.drops = 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("apart"))
    fleet.add("web")
    apps = {"orders": App(plain), "ledger": App(http2)}
    for service, app in apps.items():
        node = fleet.add(service)
        fleet.nodes[node.id] = replace(
            node, by_name=True, metrics_address=node.address, app_address="localhost", app_port=app.port
        )
        app.start()
    with fleet.running():
        made = World(fleet, apps)
        wait_for(lambda: made.ask("GET").status_code == made.ask("POST", "ledger").status_code == 200)
        yield made


def test_what_may_be_repeated_is_where_an_app_closes_the_connection_that_it_came_over(world: World) -> None:
    app = world.apps["orders"]
    for method in ("GET", "PUT"):
        with dropping(app, 1):
            assert (world.ask(method).status_code, app.seen) == (200, 2)


def test_what_may_not_be_repeated_is_asked_once(world: World) -> None:
    app = world.apps["orders"]
    with dropping(app, 1):
        assert (world.ask("POST").status_code, app.seen) == (503, 1)


def test_a_request_that_ends_each_app_is_asked_three_times_and_no_more(world: World) -> None:
    app = world.apps["orders"]
    with dropping(app, 100):
        assert (world.ask("GET").status_code, app.seen) == (503, 3)


def test_what_an_app_of_http_2_refuses_waits_until_one_takes_it(world: World) -> None:
    """More often than a sidecar tries by itself: it says so to its caller, who waits."""
    app = world.apps["ledger"]
    with dropping(app, 5):
        assert (world.ask("POST", "ledger").status_code, app.seen) == (200, 6)


def test_while_no_app_listens_any_request_waits(world: World) -> None:
    app = world.apps["orders"]
    app.stop()
    wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", app.port)) != 0)
    later = threading.Timer(1.0, app.start)
    later.start()
    app.seen = 0
    assert (world.ask("POST").status_code, app.seen) == (200, 1)
    later.join()
