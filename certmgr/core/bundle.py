"""An identity as it is kept and served: its key, its certificate, and the chain up to the root."""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from legation.mesh.names import serial_text

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Damaged(Exception):
    """A bundle that cannot be used; says why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One identity. `chain` holds the intermediates, nearest to the leaf first; `root` is the pinned anchor."""

    key: Key = field(repr=False)
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    root: x509.Certificate

    @property
    def serial(self) -> str:
        """The serial number as Envoy prints it: lower-case hex, whole bytes, no colons."""
        return serial_text(self.leaf.serial_number)

    @property
    def life(self) -> tuple[float, float]:
        """Not before and not after, in seconds since the epoch."""
        return self.leaf.not_valid_before_utc.timestamp(), self.leaf.not_valid_after_utc.timestamp()

    def key_pem(self) -> bytes:
        """Return the private key, PKCS #8."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def chain_pem(self) -> bytes:
        """Return the leaf and the intermediates: what a TLS peer is shown (RFC 8446 §4.4.2)."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in (self.leaf, *self.chain))

    def root_pem(self) -> bytes:
        """Return the anchor."""
        return self.root.public_bytes(Encoding.PEM)


def render(bundle: Bundle) -> bytes:
    """Return a bundle as one PEM file: key, leaf, intermediates, root."""
    return bundle.key_pem() + bundle.chain_pem() + bundle.root_pem()


def parse(content: bytes) -> Bundle:
    """Return the bundle that `render` wrote; Damaged when it is anything else."""
    try:
        key = load_pem_private_key(content, None)
        leaf, *chain, root = x509.load_pem_x509_certificates(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # the parser's own words might quote what it was given
        raise Damaged("it is not a key followed by at least two certificates") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Damaged("its key is neither an elliptic curve's nor RSA's")
    bundle = Bundle(key, leaf, tuple(chain), root)
    if render(bundle) != content:  # PEM parsers skip what they do not understand, such as a block that was cut off
        raise Damaged("it is not as it was written")
    return bundle
