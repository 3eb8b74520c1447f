"""Names with several addresses, through `passthrough`: none of them may be this host's."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from legation.mesh import names
from tests.support.dns import dns
from tests.support.envoys import VERSIONS, envoy
from tests.xds_server.compile.fleet import Fleet, wait_for
from tests.xds_server.compile.test_passthrough import own_address
from xds_server.prove.capabilities import capabilities

MESH = """
mesh: passing
trust_domain: passing.local
passthrough: true
services:
  web: {protocol: http, port: 8080}
"""
NOWHERE = "224.0.0.1"
"""An address of many, to which no connection can be made."""
DENIED = "http.outbound_legation-passthrough.rbac.denied"
WAYS = ("GET", "POST", "CONNECT")


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.command, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(host: str) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer((host, 0), _Server)
    server.seen = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ThreadingHTTPServer]]:
    with serving(own_address()) as outside, serving("127.0.0.1") as inside:
        yield {"outside": outside, "inside": inside}


@contextmanager
def running(folder: Path, version: str = VERSIONS[-1]) -> Iterator[Fleet]:
    own = own_address()
    zone = {
        "one.test": [own],
        "half-dead.test": [NOWHERE, own],
        "inside.test": ["127.0.0.1"],
        "last-inside.test": [own, "127.0.0.1"],
        "first-inside.test": ["127.0.0.1", own],
        "dead-and-inside.test": [NOWHERE, "127.0.0.1"],
        "inside-twice.test": [NOWHERE, "127.0.0.1", "127.0.0.2"],
    }
    program = envoy(version)
    lacks = asyncio.run(capabilities(program)).lacks
    with dns(zone) as port:
        fleet = Fleet(MESH, folder, program=program, lacks=lacks, dns_port=port)
        fleet.add("web")
        with fleet.running():
            yield fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("fleet")) as found:
        yield found


def ask(fleet: Fleet, way: str, host: str, port: int) -> int:
    """Send a request, through a tunnel with CONNECT; return its status."""
    at, server = fleet.nodes["web-v1"].own_address, f"{host}:{port}"
    with closing(socket.create_connection((at, names.OUTBOUND_PORT_BASE), 20)) as proxy:
        if way == "CONNECT":
            proxy.sendall(f"CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n".encode())
            if (status := _status(proxy)) != 200:
                return status
            proxy.sendall(f"GET / HTTP/1.1\r\nHost: {server}\r\n\r\n".encode())
        else:
            head = f"{way} http://{server}/ HTTP/1.1\r\nHost: {server}\r\nContent-Length: "
            proxy.sendall(f"{head}{4 if way == 'POST' else 0}\r\n\r\n{'body' if way == 'POST' else ''}".encode())
        return _status(proxy)


def _status(proxy: socket.socket) -> int:
    got = b""
    while b"\r\n\r\n" not in got:
        more = proxy.recv(65536)
        assert more, f"the connection ends after {got!r}"
        got += more
    return int(got.split(b" ")[1])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["inside", "last-inside", "first-inside", "dead-and-inside", "inside-twice", "localhost"]
)
def test_no_address_of_a_name_leads_to_this_host(fleet: Fleet, servers: dict, name: str, way: str) -> None:
    """Whichever it is, and whoever does not answer before; each time is counted, and nothing comes there."""
    host, port = name if name == "localhost" else f"{name}.test", servers["inside"].server_port
    servers["inside"].seen.clear()
    before = fleet.stat("web-v1", DENIED)
    assert [ask(fleet, way, host, port) for _ in range(4)] == [403] * 4
    assert servers["inside"].seen == []
    wait_for(lambda: fleet.stat("web-v1", DENIED) == before + 4)
    wait_for(lambda: f'"authority":"{host}:{port}"' in fleet.log("web-v1"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["one.test", "half-dead.test", ""])
def test_a_name_is_reached_by_an_address_that_answers(fleet: Fleet, servers: dict, name: str, way: str) -> None:
    """Once, with its body; by an address itself too. The access log says which one."""
    server, host = servers["outside"], name or own_address()
    server.seen.clear()
    assert [ask(fleet, way, host, server.server_port) for _ in range(4)] == [200] * 4
    assert server.seen == [("POST", b"body") if way == "POST" else ("GET", b"")] * 4
    lines = partial(_lines, fleet, f'"authority":"{host}:{server.server_port}"', f'"method":"{way}"')
    wait_for(lambda: len(lines()) == 4)
    for said in ('"cluster":"legation-passthrough"', f'"upstream":"{own_address()}:{server.server_port}"'):
        assert all(said in line for line in lines())


def _lines(fleet: Fleet, *said: str) -> list[str]:
    return [line for line in fleet.log("web-v1").splitlines() if all(one in line for one in said)]
