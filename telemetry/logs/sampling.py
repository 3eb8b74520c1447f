"""Which requests that went well are kept, where that is a share of them: each at all of its hops, or at none. Pure."""

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
    return [record for record in records if has_failed(record) or is_kept(record.trace or record.request, share)]


def is_kept(tag: str, share: float) -> bool:
    """Say whether requests with this trace, or without one with this x-request-id, are kept."""
    place = int.from_bytes(sha256(tag.encode()).digest()[:4], "big") % _PARTS
    return place < share * _PARTS / 100
