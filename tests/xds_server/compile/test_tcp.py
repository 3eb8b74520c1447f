"""TCP services through stock Envoys: one that speaks first, one that answers; who may connect, and how many."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from legation.mesh import names
from tests.xds_server.compile.fleet import APP_PORT, Fleet, address, wait_for
from xds_server.endpoint import Endpoint

GATEWAY_SLOT = 100
MESH = f"""
mesh: tcp
trust_domain: tcp.local
services:
  web: {{protocol: http, port: 8080, calls: [banner, echo, late]}}
  stranger: {{protocol: http, port: 8080}}
  banner:
    protocol: tcp
    port: 3306
    health_check: {{}}
    connections: {{max_connections: 3}}
    expose: {{port: 13306, address: {address(GATEWAY_SLOT)}}}
  echo: {{protocol: tcp, port: 6379, failover: banner}}
  late: {{protocol: tcp, port: 6380}}
"""
APP_REFUSES = r"cluster\._local_app\.upstream_cx_connect_fail"
GREETING = b"5.7.0-mysql\0"


class _Banner(BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(GREETING)
        while data := self.request.recv(65536):
            self.request.sendall(data)


class _Echo(BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add("web")
    fleet.add(names.GATEWAY)
    fleet.add("late")
    servers = [
        _Server((fleet.add(name).address, APP_PORT), handler)
        for name, handler in (("banner", _Banner), ("echo", _Echo))
    ]
    for server in servers:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with fleet.running():
        yield fleet
    for server in servers:
        server.shutdown()
        server.server_close()


def connect(at: str) -> socket.socket:
    host, port = at.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def got(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


def test_a_server_that_speaks_first_is_heard(fleet: Fleet) -> None:
    with closing(connect(fleet.outbound("web-v1", "banner"))) as connection:
        assert got(connection, len(GREETING)) == GREETING


def test_bytes_go_both_ways_whatever_they_look_like(fleet: Fleet) -> None:
    data = b"\n\r GET / HTTP/1.1\n\0" * 10_000
    with closing(connect(fleet.outbound("web-v1", "echo"))) as connection:
        Thread(target=connection.sendall, args=(data,), daemon=True).start()
        assert got(connection, len(data)) == data


def test_the_gateway_offers_a_tcp_service(fleet: Fleet) -> None:
    with closing(connect(f"{address(GATEWAY_SLOT)}:13306")) as connection:
        assert got(connection, len(GREETING)) == GREETING


@pytest.mark.parametrize(("caller", "heard"), [("web", GREETING), ("stranger", b"")])
def test_only_who_calls_it_may_connect(fleet: Fleet, caller: str, heard: bytes) -> None:
    folder = fleet.authority.issue(f"spiffe://tcp.local/{caller}", fleet.folder / "clients" / caller)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    node = fleet.nodes["banner-v1"]
    with closing(context.wrap_socket(connect(f"{node.address}:{node.port}"))) as connection:
        with suppress(ssl.SSLError, ConnectionError):
            assert got(connection, len(GREETING)) == heard
            return
        assert heard == b""


def test_plain_text_is_refused(fleet: Fleet) -> None:
    node = fleet.nodes["banner-v1"]
    with closing(connect(f"{node.address}:{node.port}")) as connection:
        connection.sendall(b"hello, is anybody there?")
        with suppress(ConnectionError):
            assert GREETING not in got(connection, 100)


def test_another_service_takes_the_connections_of_one_that_is_gone(fleet: Fleet) -> None:
    fleet.absent = {"echo-v1"}
    fleet.tell()

    def heard() -> bytes:
        with closing(connect(fleet.outbound("web-v1", "echo"))) as connection:
            connection.settimeout(0.5)
            try:
                return connection.recv(100)
            except TimeoutError:
                return b""

    try:
        wait_for(lambda: heard() == GREETING)
    finally:
        fleet.absent = set()
        fleet.tell()


def test_the_log_has_a_line_a_connection(fleet: Fleet) -> None:
    with closing(connect(fleet.outbound("web-v1", "banner"))) as connection:
        got(connection, len(GREETING))
    wait_for(lambda: '"peer":"spiffe://tcp.local/web"' in fleet.log("banner-v1"))


def test_a_connection_waits_for_an_app_that_is_about_to_listen(fleet: Fleet) -> None:
    node, refused = fleet.nodes["late-v1"], fleet.stat("late-v1", APP_REFUSES)
    with closing(connect(fleet.outbound("web-v1", "late"))) as connection:
        wait_for(lambda: fleet.stat("late-v1", APP_REFUSES) >= refused + 2)
        with _Server((node.address, APP_PORT), _Banner) as late:
            Thread(target=late.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            assert got(connection, len(GREETING)) == GREETING
            late.shutdown()


def test_a_connection_is_given_up_when_nobody_takes_it(fleet: Fleet) -> None:
    """Its client hears that, and may try somewhere else: it is no half-open one for ever."""
    began, refused = time.monotonic(), fleet.stat("late-v1", APP_REFUSES)
    with closing(connect(fleet.outbound("web-v1", "late"))) as connection:
        connection.settimeout(30)
        with suppress(ConnectionError):
            assert got(connection, 1) == b""
    assert time.monotonic() - began > 1
    assert fleet.stat("late-v1", APP_REFUSES) - refused == 50


def test_a_peer_that_starts_again_is_waited_for(fleet: Fleet) -> None:
    """Not for as long, as one that is silent takes `connect_timeout` each time."""
    nobody = Endpoint("late-v1-9", "v1", address(GATEWAY_SLOT + 1), names.INBOUND_PORT)
    fleet.absent, fleet.extra = {"late-v1"}, {"late": (nobody,)}
    fleet.tell()
    try:
        began = time.monotonic()
        with closing(connect(fleet.outbound("web-v1", "late"))) as connection, suppress(ConnectionError):
            assert got(connection, 1) == b""
        assert time.monotonic() - began > 0.2
        assert fleet.stat("web-v1", r"cluster\.late\.upstream_cx_connect_fail") == 15
    finally:
        fleet.absent, fleet.extra = set(), {}
        fleet.tell()
