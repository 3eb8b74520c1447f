"""A DNS server for tests: it knows the IPv4 addresses of a few names, and nothing else (RFC 1035)."""

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Thread

_A = 1


@contextmanager
def dns(zone: Mapping[str, Sequence[str]]) -> Iterator[int]:
    """Answer on a port of 127.0.0.1, which is yielded; an address is always the same place in an answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        stopped: list[bool] = []
        thread = Thread(target=_serve, args=(server, zone, stopped))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stopped.append(True)
            thread.join()


def _serve(server: socket.socket, zone: Mapping[str, Sequence[str]], stopped: list[bool]) -> None:
    while not stopped:
        with suppress(TimeoutError):
            asked, who = server.recvfrom(512)
            server.sendto(_answer(asked, zone), who)


def _answer(asked: bytes, zone: Mapping[str, Sequence[str]]) -> bytes:
    labels, end = [], 12
    while length := asked[end]:
        labels.append(asked[end + 1 : end + 1 + length].decode().lower())
        end += 1 + length
    (kind,) = struct.unpack_from("!H", asked, end + 1)
    found = zone.get(".".join(labels), ()) if kind == _A else ()
    head = asked[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
    records = (struct.pack("!HHHIH", 0xC00C, _A, 1, 60, 4) + socket.inet_aton(address) for address in found)
    return head + asked[12 : end + 5] + b"".join(records)
