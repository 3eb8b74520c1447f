"""Requests of a revoked peer through a stock Envoy: denied by serial, whatever the request says of itself."""

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.xds_server.compile.fleet import wait_for
from tests.xds_server.compile.stolen import World, serial
from xds_server.compile.revoked import denied
from xds_server.compile.route import inbound_routes

DISGUISES = ("x-legation-peer-serial", "x-legation-serial", "legation.serial")
"""Names under which a peer would say another serial than it has shown."""


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


@pytest.mark.parametrize("name", DISGUISES)
def test_peer_cannot_say_that_it_is_somebody_else(world, name):
    assert world.ask(world.stolen, **{name: serial(world.fresh)}) == 403
    assert world.ask(world.fresh, **{name: serial(world.stolen)}) == 200


@pytest.mark.parametrize("name", DISGUISES)
def test_peer_cannot_have_what_its_proxy_says_of_it_taken_away(world, name):
    """RFC 9110 §7.6.1 has a proxy drop the headers that Connection names."""
    assert world.ask(world.stolen, te="trailers", connection=f"close, te, {name}") == 403


def test_revoked_peer_gets_no_websocket_either(world):
    """Envoy makes the filters of an upgrade apart."""
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    assert [world.ask(shown, "/chat", **upgrade) for shown in (world.stolen, world.fresh)] == [403, 200]


def test_app_does_not_see_how_it_is_done(world):
    world.app.reset()
    assert world.ask(world.fresh) == 200
    ((_, _, headers),) = world.app.seen
    assert not any(serial(world.fresh) in value for value in headers.values())


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
