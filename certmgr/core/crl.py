"""Lists of revoked certificates (RFC 5280 §5): which may be shown to proxies, and which must not.

A proxy with a list that is stale or of another CA refuses everybody, so a list is shown only when
it is whole, right and in time; without one, proxies check none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certmgr.core.bundle import Bundle
from legation.mesh.names import serial_text

SPARE = 60.0
"""Seconds before its end in which a list is shown no more: clocks differ, and a push takes its time."""


class BadCrl(Exception):
    """A list that may not be shown; says why."""


@dataclass(frozen=True, slots=True)
class Crl:
    """A list that was checked; `signer` is who has signed it, as another CA may have the name of one before it."""

    pem: bytes
    number: int
    ends: float
    serials: frozenset[str]
    signer: x509.Certificate

    @property
    def issuer(self) -> x509.Name:
        """The name of who has signed it."""
        return self.signer.subject

    def covers(self, bundle: Bundle) -> bool:
        """Say whether it is the list of who signed a leaf: a leaf of another would be refused."""
        return bundle.leaf.issuer == self.issuer


def checked(content: bytes, issuer: x509.Certificate, now: float, *, after: Crl | None, holds: Iterable[str]) -> Crl:
    """Return a list of PEM or DER; BadCrl when it is stale, older than the one `after`, another CA's or incomplete.

    `holds` are the serials that were revoked for sure.
    """
    try:
        parse = x509.load_pem_x509_crl if content.startswith(b"-----BEGIN") else x509.load_der_x509_crl
        found = parse(content)
    except ValueError:
        raise BadCrl("it is no list of revoked certificates") from None
    crl = Crl(
        pem=found.public_bytes(Encoding.PEM),
        number=_number(found),
        ends=found.next_update_utc.timestamp() if found.next_update_utc else 0.0,
        serials=frozenset(serial_text(revoked.serial_number) for revoked in found),
        signer=issuer,
    )
    if found.issuer != issuer.subject or not found.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
        raise BadCrl("it is not signed by the intermediate")
    if crl.ends - SPARE <= now:
        raise BadCrl("it has ended, or has no end: proxies would refuse everybody")
    if after is not None and crl.issuer == after.issuer and crl.number < after.number:
        raise BadCrl(f"its number is {crl.number}, and {after.number} was seen before: an old one is played back")
    if missing := sorted(set(holds) - crl.serials):
        raise BadCrl(f"it lacks what was revoked: {', '.join(missing)}")
    return crl


_BEGINS = b"-----BEGIN "
_LIST = b"X509 CRL"


def pairs(content: bytes, served: Sequence[x509.Certificate]) -> Iterator[tuple[x509.Certificate, bytes]]:
    """Yield each list in a file with who has signed it: the certificate before it, or else the only one served.

    BadCrl when something else is in the file.
    """
    issuer = served[0] if len(served) == 1 else None
    for block in content.split(_BEGINS)[1:]:
        if not block.startswith(_LIST):
            try:
                issuer = x509.load_pem_x509_certificate(_BEGINS + block)
            except ValueError:
                raise BadCrl("what is on disk are no lists") from None
        elif issuer is not None:
            yield issuer, _BEGINS + block


def normal(serial: str) -> str | None:
    """Return a serial as people write it (`0A:1b`, `0a1B`) in Envoy's spelling; None when it is none."""
    digits = serial.replace(":", "").replace("-", "").lower()
    try:
        return serial_text(int(digits, 16)) if digits else None
    except ValueError:
        return None


def _number(found: x509.CertificateRevocationList) -> int:
    try:
        return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, ValueError):
        return 0
