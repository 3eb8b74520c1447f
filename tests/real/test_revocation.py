"""Revocation in a running mesh: who has a copy is refused, on new and on open connections; who owns it is not."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

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
    assert time.monotonic() - started < 15, "the command's own start among it, on a busy machine"
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


@contextmanager
def asked(shop: Mesh, path: str) -> Iterator[list[int]]:
    """Ask the gateway over and over while the block runs; the statuses are in the list when it is over."""
    seen, over = [], Event()

    def ask() -> None:
        while not over.is_set():
            seen.append(shop.get(path).status_code)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            yield seen
        finally:
            over.set()
        for one in asking:
            one.result()


def test_proxies_of_a_revoked_certificate_come_back_with_the_new_one_and_lose_no_request(shop: Mesh) -> None:
    """Their streams to xds_server end, as they were opened with it; whoever calls them does not notice."""
    instance = shop.first("catalog").id
    before = opened(shop, instance)
    with asked(shop, "/proxy/catalog/items") as seen:
        done = legation("certs", "revoke", "catalog", "--state", str(shop.state), "-o", "json")
        report = json.loads(done.stdout)
        assert report["withdrawn"] == []
        assert report["renewed"] == ["catalog"]
        wait_for("its stream has ended and another is up", lambda: opened(shop, instance) > before, 20)
        shop.settle()
    assert len(seen) > 20
    assert set(seen) == {200}


def opened(shop: Mesh, instance: str) -> int:
    lines = shop.log("xds_server").splitlines()
    return sum("stream opened" in line and f'"node": "{instance}"' in line for line in lines)


def test_nobody_calls_a_server_that_is_shut_out_until_it_is_let_in_again(shop: Mesh) -> None:
    """Its stream is ended and not opened again, its endpoint is withdrawn from all callers; others go on."""
    instance, caller = shop.first("payments").id, shop.first("orders").id
    address = str(shop.first("payments").inbound).rpartition(":")[0]
    assert address in clusters(shop, caller)
    with asked(shop, "/proxy/catalog/items") as seen:
        done = legation("certs", "revoke", "payments", "--shut-out", "--state", str(shop.state), "-o", "json")
        try:
            report = json.loads(done.stdout)
            assert report["withdrawn"] == [instance]
            assert report["unsynced"] == []
            assert address not in clusters(shop, caller), "the callers have ACKed it when the command returns"
            refused = f"node '{instance}': its certificate"
            wait_for("its stream is refused", lambda: refused in shop.log("xds_server"), 20)
            assert not shop.instance(instance).healthy
        finally:
            legation("certs", "rotate", "payments", "--state", str(shop.state))
            shop.settle()
    assert set(seen) == {200}
    assert address in clusters(shop, caller)


def clusters(shop: Mesh, instance: str) -> str:
    return shop.admin(instance, "/clusters")


ECHO = "require('net').createServer((c) => c.pipe(c)).listen(process.env.PORT, process.env.HOST)"


def test_tcp_connections_of_a_revoked_certificate_end(shop: Mesh, tmp_path: Path) -> None:
    """There is no request to deny, so the listener drains: within its 5 s everybody's connections to it are closed."""

    def change(text: str) -> str:
        service = "  sessions: {protocol: tcp, port: 6379}\n"
        workload = f"  - {{service: sessions, command: [node, -e, {json.dumps(ECHO)}]}}\n"
        text = text.replace("      - orders  ", "      - sessions\n      - orders  ")
        return text.replace("\nworkloads:\n", f"\n{service}\nworkloads:\n{workload}", 1)

    with shop.edited(change):
        thief = peer_of(shop, "web", tmp_path)
        host, _, port = str(shop.first("sessions").inbound).rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as plain, thief.context.wrap_socket(plain) as held:
            held.sendall(b"hello")
            assert held.recv(5) == b"hello"
            assert legation("certs", "revoke", "web", "--state", str(shop.state)).returncode == 0
            assert held.recv(5) == b"", "it is closed before the 20 s of its own timeout"
        with socket.create_connection((host, int(port)), timeout=20) as plain, pytest.raises(REFUSED):
            thief.context.wrap_socket(plain).recv(1)
