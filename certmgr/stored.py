"""What is on disk of an identity when certmgr starts: served at once where it is good, else removed and issued anew."""

from collections.abc import Callable

import structlog
from cryptography import x509

from certmgr.core.bundle import Bundle, Damaged
from certmgr.core.plan import IdentitySpec
from certmgr.core.trust import Trust
from certmgr.core.verify import misuse
from certmgr.store import Store

log = structlog.get_logger(__name__)


def pinned(store: Store) -> tuple[x509.Certificate, ...]:
    """Return the roots that this host trusts; a damaged file condemns no bundle (the next issue says so)."""
    try:
        return store.roots()
    except Damaged:
        return ()


def stored(
    store: Store, spec: IdentitySpec, trust: Trust, now: float, is_revoked: Callable[[str], bool]
) -> Bundle | None:
    """Return the bundle on disk; None, and it is removed, when it may not be served.

    After a power cut it may be one from before the last renewal, and so one that is revoked meanwhile.
    """
    try:
        bundle = store.bundle(spec.name)
        if bundle is None:
            return None
        wrong = misuse(bundle, spec, _anchor_of(bundle, trust), now)
        if not wrong and is_revoked(bundle.serial) and not store.is_shut_out(spec.name):
            wrong = ("it is revoked",)
    except Damaged as error:
        wrong = (str(error),)
    else:
        if not wrong:
            return bundle
    log.warning("stored certificate discarded", identity=spec.name, reason="; ".join(wrong))
    store.discard_bundle(spec.name)
    return None


def _anchor_of(bundle: Bundle, trust: Trust) -> x509.Certificate:
    """Return the root by which a stored bundle is judged."""
    roots = trust.roots
    return bundle.root if not roots or bundle.root in roots else roots[0]
