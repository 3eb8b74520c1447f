"""Which listening sockets are open to more than loopback, from the kernel's own tables."""

import os
import socket

import pytest

from legation.sidecar.exposure import Listening, advice, listening
from legation.sidecar.sockets import all_listening, inodes_of

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
    assert found == [Listening(7, str(__import__("ipaddress").ip_address(address)), 8080)]
    assert found[0].exposed is exposed


def test_reading_stops_at_the_first_connection() -> None:
    rows = [HEADER, row("00000000", 1), row("0100007F", 2, state="01"), row("00000000", 3)]
    assert [s.port for s in listening(rows)] == [1]


def test_a_real_socket_of_ours_is_found_and_is_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [s for s in all_listening() if s.port == port and s.address == "127.0.0.1"]
        assert len(found) == 1
        assert found[0].inode in inodes_of(os.getpid())
        assert not found[0].exposed


def test_a_process_that_is_gone_has_no_sockets() -> None:
    assert inodes_of(2**22 - 1) == {}


def test_the_advice_names_the_service_the_address_and_the_fix() -> None:
    text = advice("orders", [Listening(7, "0.0.0.0", 8080)])
    assert "orders: the app listens on 0.0.0.0:8080" in text
    assert "server.listen(process.env.PORT, process.env.HOST)" in text
