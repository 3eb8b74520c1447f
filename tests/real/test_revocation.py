"""Revocation in a running mesh: who has a copy is refused, on new and on open connections; who owns it is not."""

import http.client
import time
from pathlib import Path

import pytest

from tests.support.mesh import Mesh, legation, wait_for
from tests.support.peer import REFUSED, Peer, peer_of

pytestmark = pytest.mark.timeout(180)


class Held:
    """A connection that stays open, as a thief would hold it."""

    def __init__(self, thief: Peer, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=thief.context)
        self._connection.connect()
        self.socket = self._connection.sock

    def ask(self) -> int:
        self._connection.request("GET", "/")
        answer = self._connection.getresponse()
        answer.read()
        assert self._connection.sock is self.socket, "it is the same connection"
        return answer.status


def test_attack_01_thief_is_denied_on_his_open_connection_and_the_owner_goes_on(shop: Mesh, tmp_path: Path) -> None:
    thief, target = peer_of(shop, "web", tmp_path), str(shop.first("catalog").inbound)
    held = Held(thief, target)
    assert held.ask() != 403
    started = time.monotonic()
    done = legation("certs", "revoke", "web", "--state", str(shop.state))
    assert done.returncode == 0, done.stderr
    assert held.ask() == 403
    assert time.monotonic() - started < 4, "the command's own start among it"
    with pytest.raises(REFUSED):
        thief.ask(target)
    assert shop.get("/").status_code == 200
    assert peer_of(shop, "web", tmp_path).ask(target).status != 403


def test_what_is_revoked_stays_denied_when_xds_server_is_killed(shop: Mesh, tmp_path: Path) -> None:
    """Its store knows, so the proxies that come back are told the same."""
    thief, target = peer_of(shop, "web", tmp_path), str(shop.first("catalog").inbound)
    held = Held(thief, target)
    assert legation("certs", "revoke", "web", "--state", str(shop.state)).returncode == 0
    import os
    import signal

    before = shop.status().xds_server
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    wait_for("xds_server is back", lambda: shop.status().xds_server.pid not in {None, before.pid}, 20)
    shop.settle()
    assert held.ask() == 403
