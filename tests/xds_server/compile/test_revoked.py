"""Requests of a revoked peer through a stock Envoy: denied by serial, whatever the request says of itself."""

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.xds_server.compile.fleet import App, Fleet, wait_for
from xds_server.compile.revoked import PEER_SERIAL, denied
from xds_server.compile.route import inbound_routes
from xds_server.revocations import Revocations

MESH = """
mesh: gone
trust_domain: gone.local
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders: {protocol: http, port: 8080}
"""


def serial(folder: Path) -> str:
    number = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex()


class World:
    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(MESH, folder)
        self.contexts: dict[Path, ssl.SSLContext] = {}
        self.node = self.fleet.add("orders")
        self.stolen, self.fresh = (
            self.fleet.authority.issue("spiffe://gone.local/web", folder / name) for name in ("stolen", "fresh")
        )
        others = frozenset(f"{number:040x}" for number in range(1, 2000))
        self.fleet.compiler.revoke(Revocations(frozenset({serial(self.stolen), *others})))
        self.app = App(self.node.address, self.node.id)

    def ask(self, shown: Path, **headers: str) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(shown / "cert.pem", shown / "key.pem")
        with httpx.Client(verify=context, timeout=10) as client:
            return client.get(f"https://{self.node.address}:{self.node.port}/", headers=headers).status_code


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    this = World(tmp_path_factory.mktemp("gone"))
    with this.fleet.running():
        yield this
    this.app.stop()


def test_revoked_peer_is_denied_and_its_successor_is_not(world):
    world.app.reset()
    assert world.ask(world.stolen) == 403
    assert [] == world.app.seen
    assert world.ask(world.fresh) == 200


def test_peer_cannot_say_that_it_is_somebody_else(world):
    assert world.ask(world.stolen, **{PEER_SERIAL: serial(world.fresh)}) == 403
    assert world.ask(world.fresh, **{PEER_SERIAL: serial(world.stolen)}) == 200


def test_peer_cannot_have_what_its_proxy_says_of_it_taken_away(world):
    """RFC 9110 §7.6.1 has a proxy drop the headers that Connection names."""
    assert world.ask(world.stolen, te="trailers", connection=f"close, te, {PEER_SERIAL}") == 403


def test_app_does_not_see_how_it_is_done(world):
    world.app.reset()
    assert world.ask(world.fresh) == 200
    ((_, _, headers),) = world.app.seen
    assert PEER_SERIAL not in headers


def test_nothing_is_told_to_the_filter_while_nothing_is_revoked():
    assert not inbound_routes().typed_per_filter_config
    assert denied(()) == {}
    one, two = inbound_routes(["0b", "0a"]), inbound_routes(["0a", "0b"])
    assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


def test_attack_23_an_expired_certificate_is_refused_and_comes_back_by_no_ticket(world, tmp_path):
    """A ticket of a handshake from before it ended would let it in without being looked at again."""
    soon = timedelta(seconds=5)
    short, ended = world.fleet.authority.issue("spiffe://gone.local/web", tmp_path, soon), time.time() + 5
    status, session = asked(world, short, None)
    assert status == "200"
    wait_for(lambda: time.time() > ended + 0.5)
    for known in (None, session):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            asked(world, short, known)
    status, session = asked(world, world.fresh, None)
    assert (status, asked(world, world.fresh, session)[0]) == ("200", "200")


def asked(world: World, shown: Path, session: ssl.SSLSession | None) -> tuple[str, ssl.SSLSession | None]:
    """Ask once on a connection of its own, which would go on with a session; return the status and the next session."""
    if shown not in world.contexts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(shown / "cert.pem", shown / "key.pem")
        world.contexts[shown] = context
    plain = socket.create_connection((world.node.address, world.node.port), timeout=10)
    with plain, world.contexts[shown].wrap_socket(plain, session=session) as secured:
        secured.sendall(b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n")
        head = secured.recv(100)
        assert not secured.session_reused
        if not head:
            raise ConnectionError("closed without an answer")
        return head.split()[1].decode(), secured.session
