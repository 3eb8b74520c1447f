"""Whom peers are checked against: the roots that this host trusts, and which of their leaves are revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.bundle import Bundle
from certmgr.core.crl import Crl


@dataclass(frozen=True, slots=True)
class Trust:
    """Roots, the one for new certificates last; and the list of each intermediate below them, or none at all.

    With the list of one intermediate and not of another, Envoy refuses every leaf of the other.
    """

    roots: tuple[x509.Certificate, ...] = ()
    crls: tuple[Crl, ...] = ()

    def roots_pem(self, bundle: Bundle) -> bytes:
        """Return the anchors to show beside an identity: its own root while no other is known."""
        return pem(self.roots or (bundle.root,))

    def crls_pem(self) -> bytes:
        """Return the lists, one after the other."""
        return b"".join(crl.pem for crl in self.crls)

    def covers(self, bundle: Bundle) -> bool:
        """Say whether peers who have these lists take a leaf."""
        return not self.crls or any(crl.covers(bundle) for crl in self.crls)


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as PEM, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate, in lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


@lru_cache(maxsize=64)
def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Say whether a CA's certificate is signed by an issuer. There are few, and they are asked about at each issue."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def anchor(certificate: x509.Certificate, roots: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """Return the root that has signed an intermediate; None when it is none of these."""
    return next((root for root in roots if signed_by(certificate, root)), None)
