"""Whether what came back from the CA, or from disk, is what was asked for. A CA's answer is never taken on trust.

The rules are those of SPIFFE X509-SVID §2 to §5 and RFC 5280 §6, for a chain of known shape:
leaf, intermediates, one pinned root.
"""

from collections.abc import Iterator
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from certmgr.core.bundle import Bundle
from certmgr.core.plan import IdentitySpec
from certmgr.core.schedule import BACKDATE
from certmgr.core.trust import signed_by

_ROUNDING = 2
"""Seconds that a CA's clock and its cutting of fractions may add to a life."""


def faults(bundle: Bundle, spec: IdentitySpec, pinned: x509.Certificate, now: float) -> tuple[str, ...]:
    """Return all that is wrong with an identity that was just issued; empty when it can be used."""
    return (*misuse(bundle, spec, pinned, now), *_too_long(bundle, spec))


def misuse(bundle: Bundle, spec: IdentitySpec, pinned: x509.Certificate, now: float) -> tuple[str, ...]:
    """Return why an identity may not be served now; a life longer than is desired today is no reason."""
    return (
        *_key(bundle),
        *_names(bundle.leaf, spec.spiffe_id),
        *_purposes(bundle.leaf),
        *_times(bundle, now),
        *_path(bundle, pinned),
    )


def unsound(bundle: Bundle, pinned: x509.Certificate, now: float) -> tuple[str, ...]:
    """Return what is wrong with a certificate of any kind, whatever it is for: its key, its times, its path."""
    return (*_key(bundle), *_times(bundle, now), *_path(bundle, pinned))


def _key(bundle: Bundle) -> Iterator[str]:
    if bundle.leaf.public_key() != bundle.key.public_key():
        yield "the certificate is for another key"


def _names(leaf: x509.Certificate, expected: str) -> Iterator[str]:
    """X509-SVID §2: exactly one URI SAN. We allow no other kind of name beside it."""
    try:
        found = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        yield "it has no subject alternative name"
        return
    except ValueError:
        yield "its extensions cannot be read"
        return
    if found != [x509.UniformResourceIdentifier(expected)]:
        said = ", ".join(str(name.value) for name in found)
        yield f"its names are [{said}], and should be [{expected}] alone"


def _purposes(leaf: x509.Certificate) -> Iterator[str]:
    """X509-SVID §4: a leaf signs no certificates, and serves both ends of a connection."""
    if _is_ca(leaf):
        yield "it is a CA's certificate"
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        yield "its key usage is not digital signature alone"
    purposes = set(_extension(leaf, x509.ExtendedKeyUsage) or ())
    if purposes != {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}:
        yield "its extended key usage is not client and server authentication"


def _times(bundle: Bundle, now: float) -> Iterator[str]:
    not_before, not_after = bundle.life
    if not_before > now:
        yield f"it is valid in {not_before - now:.0f} s only: this host's clock is behind the CA's"
    if not_after <= now:
        yield f"it expired {now - not_after:.0f} s ago"


def _too_long(bundle: Bundle, spec: IdentitySpec) -> Iterator[str]:
    not_before, not_after = bundle.life
    if not_after - not_before > spec.ttl + BACKDATE + _ROUNDING:
        yield f"it lives {not_after - not_before:.0f} s, and should live {spec.ttl + BACKDATE} s at most"


def _path(bundle: Bundle, pinned: x509.Certificate) -> Iterator[str]:
    """RFC 5280 §6.1 for our one shape of path; each issuer must outlive what it issued."""
    if bundle.root != pinned:
        yield "it is from another root than the pinned one"
    if not bundle.chain:
        yield "it comes without its intermediate"
    for child, issuer in pairwise((bundle.leaf, *bundle.chain, pinned)):
        if not (signed_by if _is_ca(child) else _signed_by)(child, issuer):
            yield f"{_called(child)} is not signed by {_called(issuer)}"
        if child.not_valid_after_utc > issuer.not_valid_after_utc:
            yield f"{_called(child)} outlives {_called(issuer)}"
        if not _is_ca(issuer):
            yield f"{_called(issuer)} is not a CA"


def _signed_by(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def intermediate_faults(
    certificate: x509.Certificate, root: x509.Certificate, trust_domain: str, now: float
) -> tuple[str, ...]:
    """Return what is wrong with an intermediate: it must be the root's, a CA for leaves only, and bound to our domain.

    The bound is a URI name constraint on the host (RFC 5280 §4.2.1.10), critical, so that a leaf
    for another trust domain is refused by every proxy, whoever signs it.
    """
    found = []
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        found.append("the intermediate is not signed by the root")
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca or basic.path_length != 0:
        found.append("the intermediate is not a CA for leaves only")
    if not certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp():
        found.append("the intermediate is not valid now")
    if not _bound_to(certificate, trust_domain):
        found.append(f"the intermediate is not bound to the trust domain {trust_domain} by a critical name constraint")
    return tuple(found)


def _bound_to(certificate: x509.Certificate, trust_domain: str) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    permitted = constraints.value.permitted_subtrees
    return constraints.critical and permitted == [x509.UniformResourceIdentifier(trust_domain)]


def _is_ca(certificate: x509.Certificate) -> bool:
    basic = _extension(certificate, x509.BasicConstraints)
    return basic is not None and basic.ca


def _extension(
    certificate: x509.Certificate, kind: type[x509.extensions.ExtensionTypeVar]
) -> x509.extensions.ExtensionTypeVar | None:
    """Return an extension's value; None where it is absent or cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _called(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "the leaf"
