"""Where the lists of revoked certificates come from: each Vault in which a trusted intermediate signs. Blocks.

That is the one in use, and beside it another one during a roll-over that leads from one to the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cryptography import x509

from certmgr.core.bundle import Damaged
from certmgr.core.crl import BadCrl, Crl, checked, normal, pairs
from certmgr.core.trust import anchor, pem
from certmgr.issue.crl import certificate_of, fetch, issuers, revoked_in_vault, rotate
from certmgr.issue.login import Login, LoginRefused
from certmgr.issue.vault import Denied, Unreachable, Vault, VaultError
from legation.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Place:
    """A Vault, and this host's way in to it: None where others put the credentials of each identity in place."""

    vault: Vault
    login: Login | None


class Lists:
    """Gets the list of each intermediate below a root that this host trusts."""

    def __init__(self, here: Place, roots: Callable[[], tuple[x509.Certificate, ...]], clock: Clock) -> None:
        """Look at the Vault in use; `roots` are those that are trusted."""
        self.here = here
        self.other: Place | None = None
        self._roots, self._clock = roots, clock
        self._certificates: dict[str, x509.Certificate] = {}
        self._rotated_for: frozenset[str] = frozenset()

    def recall(self, content: bytes, served: tuple[x509.Certificate, ...]) -> tuple[Crl, ...]:
        """Return the lists of a file; BadCrl when one is bad, or missing for an intermediate of what is served."""
        known = pairs(content, served)
        found = tuple(checked(crl, signer, self._clock.now(), after=None, holds=()) for signer, crl in known)
        if not set(served) <= {crl.signer for crl in found}:
            raise BadCrl("one of them is missing")
        return found

    def file(self, crls: Sequence[Crl]) -> bytes:
        """Return lists as `recall` takes them: each behind the certificate of who has signed it."""
        return b"".join(pem([crl.signer]) + crl.pem for crl in crls)

    def look(self, shown: Sequence[Crl]) -> tuple[Crl, ...]:
        """Return the lists that are to be shown in place of others.

        None at all are begun with while one is missing: proxies check by all of them, or by none.
        """
        found = self._of(self.here, shown) + self._elsewhere(shown)
        found += self._kept(found, shown)
        if not found:
            raise BadCrl("Vault has no intermediate of a root that this host trusts")
        if not shown and (listless := self._without({crl.signer for crl in found})):
            name = listless[0].subject.rfc4514_string()
            raise BadCrl(f"no list of an intermediate of {name} is here, which is trusted too")
        return found

    def is_here(self, leaf: x509.Certificate) -> bool:
        """Say whether a leaf is signed in the Vault in use, by who is trusted."""
        return _is_of(leaf, self._intermediates(self.here.vault))

    def signed_at(self, leaf: x509.Certificate) -> Place | None:
        """Return where a leaf can be revoked; None when it need not be, as nobody who is trusted has signed it.

        Unreachable: it may be of a Vault that is not looked at yet, as by who has just turned to another one.
        """
        known: set[x509.Certificate] = set()
        for place in (self.here, self.other):
            intermediates = {} if place is None else self._intermediates(place.vault)
            if _is_of(leaf, intermediates):
                return place
            known |= set(intermediates.values())
        if listless := self._without(known):
            name = listless[0].subject.rfc4514_string()
            raise Unreachable(f"the Vault that signs below {name}, which this host trusts, is not known here")
        return None

    def _of(self, place: Place, shown: Sequence[Crl]) -> tuple[Crl, ...]:
        """Return the lists of a Vault, made anew where they lack what it says is revoked."""
        intermediates = self._intermediates(place.vault)
        found = self._checked(place.vault, intermediates, shown)
        revoked = frozenset(serial for crl in found for serial in crl.serials)
        missing = _revoked_there(place) - revoked - self._rotated_for
        if missing and place.login is not None:
            place.login.call(partial(rotate, place.vault))
            self._rotated_for |= missing  # what has ended is on no list: it is not asked for again
            found = self._checked(place.vault, intermediates, shown)
        return found

    def _elsewhere(self, shown: Sequence[Crl]) -> tuple[Crl, ...]:
        """Return the lists of the other Vault; none while it is away or gone, or has none that may be shown."""
        other = self.other  # once: it may be taken from us at any time, on another thread
        if other is None:
            return ()
        try:
            return self._of(other, shown)
        except (VaultError, Damaged, BadCrl):  # what is revoked here is to be shown all the same
            return ()

    def _kept(self, found: Sequence[Crl], shown: Sequence[Crl]) -> tuple[Crl, ...]:
        """Return the lists from before of each root that is trusted and has none now: proxies would refuse its leaves.

        Its Vault is away, or not looked at yet: who has just turned to another one hears of that a moment later.
        """
        listless = self._without({crl.signer for crl in found})
        return tuple(crl for crl in shown if anchor(crl.signer, listless) is not None)

    def _without(self, intermediates: set[x509.Certificate]) -> tuple[x509.Certificate, ...]:
        """Return the roots that are trusted and have signed none of these."""
        roots = self._roots()
        have = {anchor(one, roots) for one in intermediates}
        return tuple(root for root in roots if root not in have)

    def _intermediates(self, vault: Vault) -> Mapping[str, x509.Certificate]:
        """Return the issuers of a Vault that are intermediates of a root which we trust, by their ids."""
        roots, there = self._roots(), issuers(vault)
        for issuer in there:
            if issuer not in self._certificates:
                self._certificates[issuer] = certificate_of(vault, issuer)
        known = {issuer: self._certificates[issuer] for issuer in there}
        return {issuer: one for issuer, one in known.items() if one not in roots and anchor(one, roots)}

    def _checked(
        self, vault: Vault, intermediates: Mapping[str, x509.Certificate], shown: Sequence[Crl]
    ) -> tuple[Crl, ...]:
        """Return the list of each intermediate: all of them, as a leaf is refused whose own is not there."""
        before = {crl.signer: crl for crl in shown}
        return tuple(
            checked(fetch(vault, issuer), one, self._clock.now(), after=before.get(one), holds=())
            for issuer, one in intermediates.items()
        )


def _is_of(leaf: x509.Certificate, intermediates: Mapping[str, x509.Certificate]) -> bool:
    return anchor(leaf, tuple(intermediates.values())) is not None


def _revoked_there(place: Place) -> frozenset[str]:
    """Return what a Vault has revoked; nothing where we may not ask."""
    if place.login is None:
        return frozenset()
    try:
        found = place.login.call(partial(revoked_in_vault, place.vault))
    except (Denied, LoginRefused, Damaged):  # the list itself is there for everybody
        return frozenset()
    return frozenset(serial for serial in map(normal, found) if serial is not None)
