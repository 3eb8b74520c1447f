"""The few messages of SDS that an instance exchanges, as bytes of Protocol Buffers, written and read by hand.

Envoy's API as classes and the library behind them weigh more than all else of an instance. Field numbers are those of
Envoy's API v3, which never change (https://protobuf.dev/programming-guides/encoding); tests hold each against it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type URL
INVALID_ARGUMENT = 3
"""google.rpc.Code."""

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_FIXED = {_I64: 8, _I32: 4}
_SOURCES = {1: "filename", 2: "inline_bytes", 3: "inline_string", 4: "environment_variable"}
"""What a DataSource may hold."""


@dataclass(frozen=True, slots=True)
class Pems:
    """What a secret holds: a certificate and its key, or whom to trust and who is revoked. What is absent is empty."""

    certificate_chain: bytes = b""
    private_key: bytes = b""
    trusted_ca: bytes = b""
    crl: bytes = b""


@dataclass(frozen=True, slots=True)
class Secrets:
    """A DeltaDiscoveryResponse: its nonce, and each secret that it brings, still as bytes, by name."""

    nonce: str
    resources: Mapping[str, bytes]


def first_request(node_id: str, wanted: tuple[str, ...]) -> bytes:
    """Return the DeltaDiscoveryRequest that opens a stream."""
    node = _text(1, node_id) + _text(6, "legation")
    return _bytes(1, node) + _text(2, SECRET_TYPE) + b"".join(_text(3, name) for name in wanted)


def answer(nonce: str, problem: str = "") -> bytes:
    """Return the DeltaDiscoveryRequest that ACKs a response, or NACKs it for a problem."""
    said = _text(2, SECRET_TYPE) + _text(6, nonce)
    return said + _bytes(7, bytes([1 << 3, INVALID_ARGUMENT]) + _text(2, problem)) if problem else said


def response(data: bytes) -> Secrets:
    """Return a response; ValueError when it is none."""
    nonce, resources = "", {}
    for number, value in _fields(data):
        if number == 2:  # Resource: its name, and an Any
            parts = dict(_fields(value))
            resources[parts.get(3, b"").decode()] = dict(_fields(parts.get(2, b""))).get(2, b"")
        elif number == 5:
            nonce = value.decode()
    return Secrets(nonce, resources)


def secret(data: bytes) -> Pems:
    """Return what a secret holds; ValueError when it points elsewhere."""
    found = dict(_fields(data))
    if 4 in found:
        context = dict(_fields(found[4]))
        return Pems(trusted_ca=_inline(context.get(1, b"")), crl=_inline(context[7]) if 7 in context else b"")
    pair = dict(_fields(found.get(2, b"")))
    return Pems(_inline(pair.get(1, b"")), _inline(pair.get(2, b"")))


def _inline(source: bytes) -> bytes:
    """Return what a DataSource holds; ValueError when it points elsewhere."""
    for number, value in _fields(source):
        kind = _SOURCES.get(number, "of a kind of its own")
        if not kind.startswith("inline"):
            raise ValueError(f"a secret's data is {kind}; only inline data is taken")
        return value
    raise ValueError("a secret's data is missing; only inline data is taken")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each length-delimited field of a message; others are passed over. ValueError where it is cut off."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
            continue
        if kind == _LEN:
            size, at = _varint(data, at)
        elif (size := _FIXED.get(kind, 0)) == 0:
            raise ValueError(f"no message: wire type {kind}")
        if at + size > len(data):
            raise ValueError("a message is cut off")
        if kind == _LEN:
            yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a message is cut off")


def _bytes(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _LEN]) + _length(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _length(size: int) -> bytes:
    written = bytearray()
    while size > 0x7F:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*written, size])
