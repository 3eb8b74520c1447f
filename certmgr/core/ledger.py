"""The ledger: what was issued and revoked here, as lines that each hold the hash of the one before.

Whoever changes, drops, adds or moves a line breaks the chain from there on. It holds no secret: a
certificate is public, of a request only its hash is kept. The end can be cut off unseen by itself:
compare the last hash (`certs audit verify` prints it) with one that was written down elsewhere.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

GENESIS = "0" * 64
"""What the first line follows."""

What = Literal["issue", "revoke"]


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened. `request_id` is Vault's own, to find it in Vault's audit log."""

    what: What
    time: float
    identity: str
    serial: str
    request_id: str
    not_after: float = 0.0
    csr_sha256: str = ""
    certificate: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a chain ends: how many lines it has, and the hash of the last one."""

    lines: int = 0
    hash: str = GENESIS


class Tampered(Exception):
    """A line that does not follow from the one before it; says which."""


def line(record: Record, tip: Tip) -> tuple[str, Tip]:
    """Return the next line of a chain, and where the chain ends then."""
    body = {"n": tip.lines + 1, "previous": tip.hash, **_fields(record)}
    digest = sha256(_canonical(body)).hexdigest()
    return json.dumps({**body, "hash": digest}, sort_keys=True) + "\n", Tip(tip.lines + 1, digest)


def read(lines: Iterable[str]) -> Iterator[tuple[Record, Tip]]:
    """Return each record with the end of the chain after it; Tampered at the first line that does not follow."""
    tip = Tip()
    for text in lines:
        tip = _follow(tip, text)
        yield _record(json.loads(text)), tip


def tip_of(lines: Iterable[str]) -> Tip:
    """Return where a chain ends; Tampered when it is broken."""
    tip = Tip()
    for _, last in read(lines):
        tip = last
    return tip


def _follow(tip: Tip, text: str) -> Tip:
    number = tip.lines + 1
    try:
        body = json.loads(text)
        said = body.pop("hash")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Tampered(f"line {number} is no line of a ledger") from None
    if body.get("previous") != tip.hash or body.get("n") != number:
        raise Tampered(f"line {number} does not follow the one before it: lines were dropped, added or moved")
    digest = sha256(_canonical(body)).hexdigest()
    if digest != said:
        raise Tampered(f"line {number} was changed: its hash is not the one of its content")
    return Tip(number, digest)


def _fields(record: Record) -> Mapping[str, Any]:
    return {name: getattr(record, name) for name in Record.__slots__}


def _record(body: Mapping[str, Any]) -> Record:
    return Record(**{name: body[name] for name in Record.__slots__ if name in body})


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
