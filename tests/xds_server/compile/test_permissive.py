"""`mtls: permissive` through stock Envoys: plain text is let in beside mTLS, counted by who sends it, and then not."""

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import httpx
import pytest

from tests.xds_server.compile.fleet import APP_PORT, App, Fleet, wait_for
from tests.xds_server.compile.test_tcp import GREETING, _Banner, _Server, got
from xds_server.compile.permissive import BANNER_WAIT

MESH = """
mesh: permissive
trust_domain: permissive.local
mtls: permissive
services:
  web: {protocol: http, port: 8080, calls: [orders, banner]}
  stranger: {protocol: http, port: 8080}
  orders:
    protocol: http
    port: 8080
    rate_limit: {local: {requests: 1000, per: 1s}}
  ledger: {protocol: http, port: 8080, mtls: strict}
  banner: {protocol: tcp, port: 3306}
  vault: {protocol: tcp, port: 3306, mtls: strict}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, App]]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add("web")
    apps = {name: App(fleet.add(name).address, name) for name in ("orders", "ledger")}
    servers = [_Server((fleet.add(name).address, APP_PORT), _Banner) for name in ("banner", "vault")]
    for server in servers:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with fleet.running():
        yield fleet, apps["orders"]
    for app in apps.values():
        app.stop()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fleet(world: tuple[Fleet, App]) -> Fleet:
    return world[0]


@pytest.fixture
def app(world: tuple[Fleet, App]) -> App:
    return world[1]


def at(fleet: Fleet, name: str) -> str:
    node = fleet.nodes[f"{name}-v1"]
    return f"{node.address}:{node.port}"


def plain(fleet: Fleet, name: str, source: str = "127.0.0.1") -> httpx.Response:
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=20) as client:
        return client.get(f"http://{at(fleet, name)}/path", headers={"x-forwarded-client-cert": "URI=spiffe://forged"})


def connect(fleet: Fleet, name: str, caller: str | None = None) -> socket.socket:
    host, port = at(fleet, name).split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    if caller is None:
        return connection
    folder = fleet.authority.issue(f"spiffe://permissive.local/{caller}", fleet.folder / "clients" / caller)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context.wrap_socket(connection)


def counted(fleet: Fleet, name: str) -> dict[str, int]:
    """Return how much plain text an instance has had, by address, as Prometheus reads it."""
    node = fleet.nodes[f"{name}-v1"]
    text = httpx.get(f"http://{node.address}:{node.metrics_port}/stats/prometheus", timeout=20).text
    found = re.findall(r'^envoy_plaintext_requests\{.*source_address="([^"]+)".*\} (\d+)$', text, re.MULTILINE)
    return {address: int(number) for address, number in found}


def test_plain_text_and_mtls_are_let_in_side_by_side(fleet: Fleet) -> None:
    wait_for(lambda: httpx.get(f"http://{fleet.outbound('web-v1', 'orders')}/", timeout=20).text == "orders")
    assert plain(fleet, "orders").text == "orders"


def test_who_sends_plain_text_is_counted_by_address(fleet: Fleet) -> None:
    before = counted(fleet, "orders")
    for source, number in (("127.9.0.1", 3), ("127.9.0.2", 2)):
        assert [plain(fleet, "orders", source).status_code for _ in range(number)] == [200] * number
    httpx.get(f"http://{fleet.outbound('web-v1', 'orders')}/", timeout=20)
    wait_for(lambda: counted(fleet, "orders") == {**before, "127.9.0.1": 3, "127.9.0.2": 2})


def test_nobody_is_who_they_say_they_are_in_plain_text(fleet: Fleet, app: App) -> None:
    """An app that trusts what its proxy says of the caller is told of no one."""
    app.reset()
    assert plain(fleet, "orders").status_code == 200
    ((_, _, headers),) = app.seen
    assert "x-forwarded-client-cert" not in headers


def test_attack_21_permissive_gives_no_right_to_whoever_has_a_name_and_no_name_to_whoever_has_none(
    fleet: Fleet, app: App
) -> None:
    """A stranger's certificate is as little use as in a strict mesh; plain text is let in, as nobody."""
    with closing(connect(fleet, "orders", "stranger")) as connection:
        connection.sendall(b"GET /path HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 403"
    app.reset()
    assert plain(fleet, "orders").status_code == 200
    assert all("spiffe" not in value for _, _, headers in app.seen for value in headers.values())


def test_a_strict_service_of_a_permissive_mesh_takes_no_plain_text(fleet: Fleet) -> None:
    with pytest.raises(httpx.TransportError):
        plain(fleet, "ledger")
    assert counted(fleet, "ledger") == {}


def test_a_server_that_speaks_first_is_heard_in_plain_text_and_over_mtls(fleet: Fleet) -> None:
    began = time.monotonic()
    with closing(connect(fleet, "banner")) as connection:
        assert got(connection, len(GREETING)) == GREETING
    assert time.monotonic() - began >= BANNER_WAIT.total_seconds() * 0.9, "so long it waits for a client that speaks"
    with closing(connect(fleet, "banner", "web")) as connection:
        assert got(connection, len(GREETING)) == GREETING
    wait_for(lambda: counted(fleet, "banner") == {"127.0.0.1": 1})


def test_mtls_is_still_decided_by_who_calls(fleet: Fleet) -> None:
    with closing(connect(fleet, "banner", "stranger")) as connection:
        try:
            assert got(connection, 1) == b""
        except (ssl.SSLError, ConnectionError):
            return


def test_a_strict_server_that_speaks_first_says_nothing_in_plain_text(fleet: Fleet) -> None:
    with closing(connect(fleet, "vault")) as connection:
        assert got(connection, 1) == b""
