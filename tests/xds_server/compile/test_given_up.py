"""Requests that callers give up on: each is counted once, and none that was answered, however early."""

import re
import socket
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from legation.mesh import names
from tests.xds_server.compile.fleet import App, Fleet, address, wait_for

GATEWAY, PORT = address(40), 18085
TEXT = f"""
mesh: given
trust_domain: given.local
services:
  web:
    protocol: http
    port: 80
    calls: [items, {{service: closed, allow: [{{methods: [GET]}}]}}, limited]
  items:
    protocol: http
    port: 8080
    expose: {{port: {PORT}, address: {GATEWAY}}}
    routes:
      - {{match: {{path: /abort}}, fault: {{abort: {{status: 503}}}}}}
      - {{match: {{path: /denied}}, respond: {{status: 403}}}}
      - {{split: {{v1: 100}}, timeout: 60s}}
  closed: {{protocol: http, port: 8080}}
  limited: {{protocol: http, port: 8080, rate_limit: {{local: {{requests: 1, per: 1h}}}}}}
"""
ROW = re.compile(r"(?m)^envoy_http_downstream_rq_(?P<what>xx|given_up|rx_reset)\{(?P<labels>[^}]*)\} (?P<value>\d+)$")
HEAD = "{method} {path} HTTP/1.1\r\nhost: items\r\ncontent-length: {length}\r\n\r\n"


class World:
    def __init__(self, fleet: Fleet, app: App) -> None:
        self.fleet, self.app = fleet, app

    def at(self, node: str, service: str) -> tuple[str, int]:
        if node == names.GATEWAY:
            return GATEWAY, PORT
        host, port = self.fleet.outbound("web-v1", service).split(":")
        return host, int(port)

    def printed(self, node: str) -> str:
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.fleet.admin(f"{node}-v1"))) as admin:
            return admin.get("http://envoy/stats/prometheus").text

    def counted(self, node: str, service: str) -> dict[str, int]:
        """What was given up, and how many had an answer of a class, of a service at one of its callers."""
        prefix = f'"{"gateway" if node == names.GATEWAY else "outbound"}_{service}"'
        found = [row for row in ROW.finditer(self.printed(node)) if prefix in row["labels"]]
        kinds = [re.search(r'class="(\d)"', row["labels"]) for row in found]
        return {k[1] if k else r["what"]: int(r["value"]) for r, k in zip(found, kinds, strict=True)}

    def is_asked(self, more: Callable[[], None]) -> None:
        """Send a request, and wait until the app has it."""
        before = len(self.app.seen)
        more()
        wait_for(lambda: len(self.app.seen) > before)


def serves(host: str, port: int) -> bool:
    return httpx.get(f"http://{host}:{port}", trust_env=False).status_code in (200, 429)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    fleet = Fleet(TEXT, tmp_path_factory.mktemp("given"))
    fleet.add("web")
    fleet.add(names.GATEWAY)
    apps = [App(fleet.add(name).address, name) for name in ("items", "closed", "limited")]
    with fleet.running():
        world = World(fleet, apps[0])
        for node, name in (*(("web", app.name) for app in apps), (names.GATEWAY, "items")):
            wait_for(partial(serves, *world.at(node, name)))
        yield world
    for app in apps:
        app.stop()


def rises(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {what: value - before.get(what, 0) for what, value in after.items() if value != before.get(what, 0)}


@pytest.mark.parametrize("node", ["web", names.GATEWAY])
@pytest.mark.parametrize("by", ["connection", "stream"])
def test_a_request_that_its_caller_gives_up_is_counted_once(world: World, node: str, by: str) -> None:
    """By closing the connection, or, in HTTP/2, by RST_STREAM, with which the connection goes on."""
    before = world.counted(node, "items")
    world.app.gate.clear()
    with socket.create_connection(world.at(node, "items"), timeout=10) as client:
        if by == "connection":
            world.is_asked(lambda: client.sendall(HEAD.format(method="GET", path="/", length=0).encode()))
            client.close()
        else:
            h2 = H2Connection(H2Configuration())
            h2.initiate_connection()
            request = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "items")]
            h2.send_headers(1, request, end_stream=True)
            world.is_asked(lambda: client.sendall(h2.data_to_send()))
            h2.reset_stream(1, ErrorCodes.CANCEL)
            client.sendall(h2.data_to_send())
        wait_for(lambda: world.counted(node, "items") != before)
    world.app.gate.set()
    assert rises(before, world.counted(node, "items")) == {"given_up": 1}


@pytest.mark.parametrize(
    ("node", "service", "path", "status"),
    [
        ("web", "items", "/abort", 503),
        (names.GATEWAY, "items", "/abort", 503),
        ("web", "items", "/denied", 403),
        ("web", "closed", "/", 403),
        ("web", "limited", "/", 429),
    ],
)
def test_a_post_that_is_answered_before_its_body_is_not_given_up(
    world: World, node: str, service: str, path: str, status: int
) -> None:
    before = world.counted(node, service)
    for _ in range(5):
        with socket.create_connection(world.at(node, service), timeout=10) as client:
            client.sendall(HEAD.format(method="POST", path=path, length=100).encode())
            assert client.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())
    wait_for(lambda: sum(rises(before, world.counted(node, service)).values()) >= 5)
    assert rises(before, world.counted(node, service)) == {str(status)[0]: 5}, "once each, and not given up"
    assert "rx_reset" not in world.printed(node), "the connection manager's own, which knows no difference"


def test_an_answer_that_is_broken_off_is_an_answer(world: World) -> None:
    before = world.counted("web", "items")
    world.app.name = "items" * 10_000_000  # more than all buffers on the way hold
    with socket.create_connection(world.at("web", "items"), timeout=10) as client:
        client.sendall(HEAD.format(method="GET", path="/", length=0).encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    world.app.name = "items"
    wait_for(lambda: bool(rises(before, world.counted("web", "items"))))
    assert rises(before, world.counted("web", "items")) == {"2": 1}
