"""A mesh and the ways into it, for what is sent raw: by the gateway, and by the sidecars of both ends of a call."""

import socket
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial

from tests.xds_server.compile.fleet import App, Fleet, address

GATEWAY_SLOT = 100
MESH = f"""
mesh: strict
trust_domain: strict.local
services:
  web:
    protocol: http
    port: 8080
    calls: [{{service: orders, allow: [{{paths: [/entries/*, /health]}}]}}]
    expose: {{port: 18080, address: {address(GATEWAY_SLOT)}}}
    routes: [{{match: {{path: /another}}}}]  # with two rows refusals come first, elsewhere behind the one
  desk: {{protocol: http, port: 8080, calls: [orders]}}
  orders: {{protocol: http, port: 8080}}
"""
GET = b"GET /entries/1 HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /entries/1 HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
ANSWER = b"HTTP/1.1 "
QUIET, LIMIT = 0.05, 10.0
"""Seconds."""


class World:
    """Three ways in, and the apps behind them."""

    def __init__(self, fleet: Fleet, apps: dict[str, App]) -> None:
        self.fleet, self.apps = fleet, apps
        self.ways: dict[str, Callable[[], socket.socket]] = {
            "gateway": lambda: connect(address(GATEWAY_SLOT), 18080),
            "outbound": lambda: connect(*fleet.outbound("web-v1", "orders").split(":")),
            "inbound": self._inbound,
            "peer": partial(self._inbound, "h2"),
        }

    def _inbound(self, protocol: str = "http/1.1") -> socket.socket:
        node = self.fleet.nodes["orders-v1"]
        folder = self.fleet.authority.issue("spiffe://strict.local/web", self.fleet.folder / "client")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.set_alpn_protocols([protocol])
        return context.wrap_socket(connect(node.address, node.port))

    def statuses(self, way: str, data: bytes, due: int = 1) -> list[int]:
        """Send bytes; return the status of each answer until the proxy closes, or says no more once `due` are there."""
        with closing(self.ways[way]()) as connection:
            connection.sendall(data)
            got = b""
            while got.count(ANSWER) < due and (part := some(connection)):
                got += part
            got += rest(connection)
        return [int(part[:3]) for part in got.split(ANSWER)[1:]]

    def get(self, way: str, path: str) -> int:
        """Return the status of a GET of exactly this path."""
        request = f"GET {path} HTTP/1.1\r\nHost: orders:8080\r\nConnection: close\r\n\r\n"
        return self.statuses(way, request.encode())[0]


def connect(host: str, port: int | str) -> socket.socket:
    return socket.create_connection((host, int(port)), timeout=LIMIT)


def some(connection: socket.socket) -> bytes:
    """Return what comes next; nothing once the proxy has closed."""
    try:
        return connection.recv(65536)
    except (ConnectionError, ssl.SSLEOFError):
        return b""


def everything(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: some(connection), b""))


def rest(connection: socket.socket) -> bytes:
    """Return what comes until it is quiet for a while, and then until the proxy closes, which it does once we did.

    Before that Envoy would wait for a second (`delayed_close_timeout`).
    """
    got = b""
    connection.settimeout(QUIET)
    with suppress(TimeoutError):
        while part := some(connection):
            got += part
    connection.settimeout(LIMIT)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    return got + everything(connection)
