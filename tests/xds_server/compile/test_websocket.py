"""WebSockets through stock Envoys: to their app and back, and nowhere that no route has one."""

import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.xds_server.compile.fleet import APP_PORT, Fleet

MESH = """
mesh: sockets
trust_domain: sockets.local
services:
  web: {protocol: http, port: 8080, calls: [sockets]}
  sockets:
    protocol: http
    port: 8080
    routes:
      - {match: {path: /chat}, websocket: true, timeout: 0s}
      - {match: {prefix: /rooms}, rewrite: {prefix: /chat/rooms}, websocket: true}
      - {match: {template: "/talk/{id}"}, rewrite: {template: "/t/{id}/talk"}, websocket: true}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add("web")
    fleet.add("sockets")
    with fleet.running():
        yield fleet


SOCKETS = {"/chat": "/chat", "/rooms/1": "/chat/rooms/1", "/talk/7": "/t/7/talk"}
"""Where WebSockets may be asked for, and what the app sees of that."""


@pytest.mark.parametrize("path", SOCKETS)
def test_a_websocket_goes_through_both_proxies(fleet, path):
    """Between them it is a stream of HTTP/2; what it carries looks like anything."""
    node = fleet.nodes["sockets-v1"]
    frames = b"\x41\x84\n\r\n \x81\x00"  # a client's may begin with a letter: compressed, in parts, and masked
    with socket.create_server((node.app_address, APP_PORT)) as server:
        host, port = fleet.outbound("web-v1", "sockets").split(":")
        with closing(socket.create_connection((host, int(port)), timeout=10)) as client:
            client.sendall(_upgrade(path))
            server.settimeout(10)
            app, _ = server.accept()
            with closing(app):
                asked = _until(app, b"\r\n\r\n")
                assert asked.startswith(f"GET {SOCKETS[path]} HTTP/1.1\r\n".encode())
                assert b"upgrade: websocket" in asked
                app.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                assert _until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 101")
                client.sendall(frames)
                assert _until(app, frames) == frames
                app.sendall(frames)
                assert _until(client, frames) == frames


@pytest.mark.parametrize(("path", "status"), [("/chat", 503), ("/t/7/talk", 503), ("/other", 403), ("/chats", 403)])
def test_whoever_has_a_callers_certificate_gets_no_websocket_where_no_route_has_one(fleet, path, status):
    """Past the caller's own proxy; what is let through finds that no app is there now."""
    node = fleet.nodes["sockets-v1"]
    folder = fleet.authority.issue("spiffe://sockets.local/web", fleet.folder / "thief")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    connection = socket.create_connection((node.address, node.port), timeout=10)
    with closing(context.wrap_socket(connection)) as client:
        client.sendall(_upgrade(path))
        assert client.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def _upgrade(path: str) -> bytes:
    key = b64encode(b"0123456789abcdef").decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def _until(connection: socket.socket, end: bytes) -> bytes:
    got = b""
    connection.settimeout(10)
    while not got.endswith(end):
        part = connection.recv(65536)
        assert part, got
        got += part
    return got
