"""When a root for trying things out is followed by another one: it lives for days, and nobody is asked."""

from collections.abc import Sequence

from cryptography import x509

from certmgr.core.setup import DEV_HOURS
from legation.mesh.rollover import Rollover

_PATIENCE = 6 * 3600.0
"""Seconds after which it is tried again when somebody has called it off."""


def is_due(root: x509.Certificate, now: float, last: Rollover | None) -> bool:
    """Say whether another root is to follow: at half of its life, as a host is often off; at once for a longer one."""
    if last is not None and (last.phase != "done" or (last.back and now < last.started + _PATIENCE)):
        return False
    begins, ends = root.not_valid_before_utc.timestamp(), root.not_valid_after_utc.timestamp()
    return ends - begins > DEV_HOURS * 3600 or now >= (begins + ends) / 2


def have_ended(roots: Sequence[x509.Certificate], now: float) -> bool:
    """Say whether none of the roots that are trusted is good any more: then there is nothing to roll over from."""
    return bool(roots) and all(root.not_valid_after_utc.timestamp() <= now for root in roots)
