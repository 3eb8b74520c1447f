"""Which TCP sockets listen, asked of the kernel (sock_diag(7)): an answer costs what is in it.

A read of /proc/net/tcp costs milliseconds on a busy host: its first page is filled up with connections.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator

from legation.sidecar.exposure import Listening

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_LISTEN = 1 << 10
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_BYTECODE = 1
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
_ATTRIBUTE = struct.Struct("=HH")
_SOCKET = struct.Struct("=B3x2s2x16s28x4xI8xI")
"""inet_diag_msg: family, source port, source address, receive queue (of a listener: its backlog), inode."""

_CONDITION, _JUMP = 7, 1


def _is_source(family: int, address: str, bits: int, no: int) -> bytes:
    """Return the kernel's test of a source address; `no` is how many bytes it jumps where that does not hold."""
    packed = socket.inet_pton(family, address)
    return struct.pack("=BBHBB2xi", _CONDITION, 12 + len(packed), no, family, bits, -1) + packed


def _reject(left: int) -> bytes:
    """Return a jump to behind the end, `left` bytes from here."""
    return struct.pack("=BBH", _JUMP, 4, left + 4)


BEYOND_LOOPBACK = b"".join(
    [
        _is_source(socket.AF_INET, "127.0.0.0", 8, 20),  # takes ::ffff:127.0.0.0/104 too
        _reject(36),
        _is_source(socket.AF_INET6, "::1", 128, 32),
        _reject(4),
    ]
)
"""Bytecode that the kernel runs on each socket (linux/inet_diag.h): only those open to more than loopback are told."""


def ask(bytecode: bytes = b"") -> frozenset[Listening]:
    """Return the listening sockets of this network namespace that a filter lets through; OSError without sock_diag."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        return frozenset(s for family in _FAMILIES for s in _dump(link, family, bytecode))


def _dump(link: socket.socket, family: int, bytecode: bytes) -> Iterator[Listening]:
    link.send(_request(family, bytecode))
    while True:
        for kind, body in _messages(link.recv(1 << 16)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                raise OSError(number, f"sock_diag: {os.strerror(number)}")
            yield _listening(body)


def _request(family: int, bytecode: bytes) -> bytes:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LISTEN)
    if bytecode:
        body += _ATTRIBUTE.pack(4 + len(bytecode), _BYTECODE) + bytecode
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the netlink messages of a datagram: type, content."""
    at = 0
    while at < len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + size]
        at += size + -size % 4


def _listening(body: bytes) -> Listening:
    family, port, address, queue, inode = _SOCKET.unpack_from(body)
    packed = address[:4] if family == socket.AF_INET else address
    return Listening(inode, socket.inet_ntop(family, packed), int.from_bytes(port, "big"), queue)
