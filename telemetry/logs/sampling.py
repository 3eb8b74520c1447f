"""Which requests that went well are kept, where that is a share of them: each at all of its hops, or at none. Pure.

What bears neither a trace nor an x-request-id cannot be told at another hop: each of its records stands for itself.
"""

from collections.abc import Sequence
from hashlib import sha256

from legation.runtime.control.log_messages import LogRecord
from telemetry.logs.budget import has_failed

_PARTS = 10_000
"""A share is taken to a hundredth of a per cent."""


def sampled(records: Sequence[LogRecord], share: float) -> list[LogRecord]:
    """Return those that are kept: what failed, what apps wrote, and `share` per cent of all else."""
    if share >= 100:
        return list(records)
    return [record for record in records if has_failed(record) or is_kept(_tag(record), share)]


def _tag(record: LogRecord) -> str:
    """Return what decides about a record; the same on each host that it is passed on to, as each decides anew."""
    return record.trace or record.request or f"{record.instance} {record.time:.4f} {record.text}"


def is_kept(tag: str, share: float) -> bool:
    """Say whether requests with this trace, or without one with this x-request-id, are kept."""
    place = int.from_bytes(sha256(tag.encode()).digest()[:4], "big") % _PARTS
    return place < share * _PARTS / 100
