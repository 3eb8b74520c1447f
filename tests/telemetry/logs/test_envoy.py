"""Access logs of stock Envoys over OTLP, as the store of a running telemetry has them, and with one that hangs."""

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry

from legation.runtime.control.log_messages import LogRecord
from telemetry.logs.logs import Logs
from telemetry.logs.metrics import LogMetrics
from telemetry.logs.query import parse
from tests.xds_server.compile.fleet import App, Fleet, wait_for

MESH = """
mesh: logged
trust_domain: logged.local
logging: {mode: client_and_server}
services:
  web: {protocol: http, port: 8080, calls: [orders, cache]}
  orders: {protocol: http, port: 8080, routes: [{timeout: 500ms}]}
  cache: {protocol: tcp, port: 6379}
"""
DROPPED = "access_logs.open_telemetry_access_log.to_telemetry.logs_dropped"


class Telemetry:
    """The log of a host, on a loop and a thread of its own."""

    def __init__(self, folder) -> None:
        self.folder, self.registry = folder, CollectorRegistry()
        self.socket = folder / "logs.sock"
        self._loop = asyncio.new_event_loop()

    @contextmanager
    def running(self) -> Iterator["Telemetry"]:
        up, self._end = threading.Event(), asyncio.Event()

        async def run() -> None:
            self.logs = Logs(self.folder / "store", self.folder / "instances", self.socket, LogMetrics(self.registry))
            async with asyncio.TaskGroup() as group, self.logs.running(group):
                up.set()
                await self._end.wait()

        thread = threading.Thread(target=self._loop.run_until_complete, args=(run(),))
        thread.start()
        try:
            assert up.wait(10)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            thread.join()

    def dropped(self) -> dict[str, float]:
        """Return how many records were lost, by reason."""
        (family,) = (f for f in self.registry.collect() if f.name == "telemetry_log_records_dropped")
        return {s.labels["reason"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Have it answer nobody, as if it were stopped."""
        end = threading.Event()
        self._loop.call_soon_threadsafe(end.wait)
        try:
            yield
        finally:
            end.set()

    def find(self, count: int, **words: str) -> list[LogRecord]:
        """Return so many records that fit, once they are there."""

        def found() -> list[LogRecord]:
            search = self.logs.search(parse(words))
            return list(asyncio.run_coroutine_threadsafe(search, self._loop).result(10).records)

        wait_for(lambda: len(found()) >= count)
        return found()


class World:
    def __init__(self, fleet: Fleet, telemetry: Telemetry, apps: list[App]) -> None:
        self.fleet, self.telemetry, self.apps = fleet, telemetry, apps

    def get(self, path: str | bytes) -> bytes:
        """Ask orders as web's app does, with any bytes for a path; return the first line of the answer."""
        target = path if isinstance(path, bytes) else path.encode()
        head = b"GET " + target + b" HTTP/1.1\r\nhost: orders\r\nx-request-id: '\"\xff\xfe\r\nconnection: close\r\n\r\n"
        host, port = self.fleet.outbound("web-v1", "orders").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head)
            return connection.makefile("rb").readline().rstrip()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    telemetry = Telemetry(folder)
    (folder / "fleet").mkdir()
    fleet = Fleet(MESH, folder / "fleet", logs_socket=str(telemetry.socket))
    apps = [App(node.address, node.id) for node in (fleet.add("web"), fleet.add("orders"), fleet.add("cache"))]
    with telemetry.running(), fleet.running():
        yield World(fleet, telemetry, apps)
    for app in apps:
        app.stop()


def test_both_ends_of_a_hop_are_found_by_the_request(world):
    world.get("/found?x=1")
    outbound, inbound = sorted(
        world.telemetry.find(2, text="/found"), key=lambda r: r.fields["direction"], reverse=True
    )
    assert (outbound.service, outbound.instance, outbound.version) == ("web", "web-v1", "v1")
    assert (inbound.service, inbound.instance, inbound.version) == ("orders", "orders-v1", "v1")
    assert outbound.request == inbound.request == "'\"\ufffd\ufffd"
    assert (outbound.code, inbound.code, inbound.fields["peer"]) == (200, 200, "spiffe://logged.local/web")
    assert outbound.text.startswith("GET orders/found?x=1 200 ")
    assert abs(outbound.time - time.time()) < 60
    assert "/found" not in world.fleet.log("web-v1"), "it is not written to stdout too"


def test_a_failure_is_found_by_its_code_and_its_flag(world):
    world.apps[1].stop()
    try:
        assert b" 50" in world.get("/down")
    finally:
        world.apps[1].start()
    assert "web" in {r.service for r in world.telemetry.find(1, service="web", code="5xx", text="/down")}
    refused = world.telemetry.find(1, flag="UF", text="/down")
    assert {(r.service, r.code) for r in refused} == {("orders", 503)}


def test_hostile_requests_are_records_like_any_other(world):
    """Quotes, bytes that are no UTF-8 and 40 kB break no record; what Envoy turns away at once, at one end."""
    for path in (b"/a'b\"c;DROP", b"/" + b"l" * 40_000):
        assert world.get(path) == b"HTTP/1.1 200 OK"
    for path in (b"/%0a%0d%00", b"/caf\xe9\xff", b"/\xe2\x80\xae"):
        assert b" 400 " in world.get(path)
    assert b" 431 " in world.get(b"/" + b"m" * 65_536), "more than Envoy takes in a request's head"
    assert {r.service for r in world.telemetry.find(1, code="431")} == {"web"}
    as_asked, normalized = (world.telemetry.find(1, text=text) for text in ("'b\"c;drop", "'b%22c;drop"))
    assert [(r.service, r.fields["path"]) for r in (*as_asked, *normalized)] == [
        ("web", "/a'b\"c;DROP"), ("orders", "/a'b%22c;DROP"),
    ]  # fmt: skip
    (long,) = {r.fields["path"] for r in world.telemetry.find(2, text="/" + "l" * 900)}
    assert (len(long) < 9000, long.endswith("more)")) == (True, True)
    refused = world.telemetry.find(4, code="400")
    assert sorted(r.service for r in refused) == ["orders", "web", "web", "web"], "%00 is for the callee's to refuse"
    assert world.telemetry.dropped() == {}


def test_connections_are_logged_when_they_end(world):
    host, port = world.fleet.outbound("web-v1", "cache").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.makefile("rb").read()
    (end,) = world.telemetry.find(1, service="cache")
    assert (end.code, end.fields["direction"], end.fields["peer"]) == (None, "inbound", "spiffe://logged.local/web")
    assert re.fullmatch(r"connection from web \d+ms", end.text)


def test_a_connection_that_is_refused_in_its_handshake_says_why(world):
    node = world.fleet.nodes["cache-v1"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((node.address, node.port), timeout=10) as plain,
        context.wrap_socket(plain) as nobody,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
    ):
        nobody.recv(1)
    (refused,) = world.telemetry.find(1, service="cache", text="did_not_provide_required_client_certificate")
    assert refused.text.startswith("connection from 127.0.0.1:")
    assert "peer" not in refused.fields


def test_a_telemetry_that_hangs_costs_no_request(world):
    """What waits is bounded, what is lost is counted, and once it is back records come again."""
    with world.telemetry.hung():
        begun = time.monotonic()
        for _ in range(600):
            assert b" 200 " in world.get("/" + "x" * 2000)
        assert time.monotonic() - begun < 60
        wait_for(lambda: world.fleet.stat("web-v1", DROPPED) > 0)
    world.get("/back")
    assert len(world.telemetry.find(2, text="/back")) == 2
