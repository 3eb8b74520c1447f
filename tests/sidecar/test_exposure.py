"""Which listening sockets are open to more than loopback, from the kernel's own tables."""

import contextlib
import os
import socket
from ipaddress import ip_address

import pytest

from legation.sidecar import sock_diag
from legation.sidecar.exposure import Listening, advice, listening
from legation.sidecar.sockets import all_listening, exposed_listening, inodes_of

HEADER = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
ROW = "   0: {}:{:04X} 00000000:0000 {} 00000000:00000000 00:00000000 00000000  1000        0 {} 1 0 100 0 0 10 0"


def row(address: str, port: int, state: str = "0A", inode: int = 7) -> bytes:
    return ROW.format(address, port, state, inode).encode()


@pytest.mark.parametrize(
    ("kernel", "address", "exposed"),
    [
        ("0100007F", "127.0.0.1", False),
        ("01014F7F", "127.79.1.1", False),
        ("00000000", "0.0.0.0", True),
        ("0101A8C0", "192.168.1.1", True),
        ("00000000000000000000000000000000", "::", True),
        ("00000000000000000000000001000000", "::1", False),
        ("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1", False),
        ("0000000000000000FFFF000000000000", "::ffff:0.0.0.0", True),
    ],
)
def test_addresses(kernel: str, address: str, exposed: bool) -> None:
    found = list(listening([HEADER, row(kernel, 8080)]))
    assert found == [Listening(7, str(ip_address(address)), 8080)]
    assert found[0].exposed is exposed


def test_reading_stops_at_the_first_connection() -> None:
    rows = [HEADER, row("00000000", 1), row("0100007F", 2, state="01"), row("00000000", 3)]
    assert [s.port for s in listening(rows)] == [1]


BOUND = {
    "127.0.0.1": False,
    "127.200.1.1": False,
    "0.0.0.0": True,
    "::1": False,
    "::": True,
    "::ffff:127.0.0.1": False,
    "::ffff:0.0.0.0": True,
}


@pytest.fixture(params=["sock_diag", "tables"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel asked, or, as in a sandbox that has no sock_diag, its tables read."""
    if request.param == "tables":
        monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", 31)  # a family that does not exist
        with pytest.raises(OSError, match="not supported"):
            sock_diag.ask()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("address", "exposed"), BOUND.items())
def test_a_real_socket_of_ours_is_found_and_is_ours(address: str, exposed: bool) -> None:
    with listening_at(address) as server:
        port = server.getsockname()[1]
        found = [s for s in all_listening() if s.port == port]
        assert [(ip_address(s.address), s.exposed) for s in found] == [(ip_address(address), exposed)]
        assert found[0].inode in inodes_of(os.getpid())
        assert [s for s in exposed_listening() if s.port == port] == (found if exposed else [])


@pytest.mark.usefixtures("kernel")
def test_what_waits_to_be_accepted_is_counted() -> None:
    with listening_at("127.0.0.1") as server, contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(socket.create_connection(server.getsockname()))
        port = server.getsockname()[1]
        assert [s.waiting for s in all_listening() if s.port == port] == [3]


@pytest.mark.usefixtures("kernel")
def test_more_sockets_than_one_answer_holds_are_all_found() -> None:
    with contextlib.ExitStack() as held:
        ports = {held.enter_context(listening_at("127.0.0.1")).getsockname()[1] for _ in range(700)}
        assert ports <= {s.port for s in all_listening()}
        ours = inodes_of(os.getpid())
        assert not [s for s in exposed_listening() if s.inode in ours], "others may use their ports elsewhere"


def listening_at(address: str) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if ":" in address:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind((address, 0))
    server.listen()
    return server


def test_a_process_that_is_gone_has_no_sockets() -> None:
    assert inodes_of(2**22 - 1) == {}


def test_the_advice_names_the_service_the_address_and_the_fix() -> None:
    text = advice("orders", [Listening(7, "0.0.0.0", 8080)])
    assert "orders: the app listens on 0.0.0.0:8080" in text
    assert "server.listen(process.env.PORT, process.env.HOST)" in text
