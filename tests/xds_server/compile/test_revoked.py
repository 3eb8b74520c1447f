"""Requests of a revoked peer through a stock Envoy: denied by serial, whatever the request says of itself."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.xds_server.compile.fleet import App, Fleet
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
