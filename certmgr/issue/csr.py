"""Keys and certificate signing requests. A key is made on this host and never leaves it."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certmgr.core.bundle import Key
from certmgr.core.layout import KEYS


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key on P-256, which every TLS 1.3 peer speaks (RFC 8446 §9.1)."""
    return ec.generate_private_key(ec.SECP256R1())


def key_of(key_type: str, bits: int) -> Key:
    """Return a new key as a role wants it (`key_type`, `key_bits`; 0 bits are its default); ValueError otherwise."""
    match key_type, bits:
        case ("ec", 256 | 0) | ("any", _):
            return new_key()
        case "ec", 384:
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa", 2048 | 3072 | 4096 | 0:
            return rsa.generate_private_key(65537, bits or 2048)
    raise ValueError(f"the role wants {key_type} keys of {bits} bits: {', '.join(KEYS)} can be made")


def leaf_request(key: Key) -> str:
    """Return a request for a leaf, in PEM: it proves the key and names nobody, as the CA's role decides the name."""
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def intermediate_request(key: ec.EllipticCurvePrivateKey, common_name: str, trust_domain: str) -> str:
    """Return a request for an intermediate that may sign leaves for the URIs of one trust domain only, in PEM."""
    constraints = x509.NameConstraints([x509.UniformResourceIdentifier(trust_domain)], None)
    request = (
        x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(constraints, critical=True)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(Encoding.PEM).decode()


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
