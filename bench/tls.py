"""Identities for the mTLS cases: a throw-away CA, the server's certificate and the clients', as PEM files."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench import world
from legation.mesh import names
from legation.runtime.identity import Identity

_LIFE = timedelta(hours=1)


def write(folder: Path) -> Path:
    """Write ca.pem, and server and client .pem and .key, into a folder; return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    unlimited = x509.BasicConstraints(ca=True, path_length=0)
    ca = _builder(name, name, key).add_extension(unlimited, critical=True).sign(key, hashes.SHA256())
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    for part, spiffe_name in (("server", names.XDS_SERVER), ("client", world.CALLER)):
        _leaf(folder, part, names.spiffe_id(world.TRUST_DOMAIN, spiffe_name), name, key)
    return folder


def identity(folder: Path) -> Identity:
    """Return the server's identity from a folder that `write` has filled."""
    return Identity.of(*((folder / file).read_bytes() for file in ("server.pem", "server.key", "ca.pem")))


def _leaf(folder: Path, part: str, spiffe_id: str, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(spiffe_id), x509.IPAddress(ip_address("127.0.0.1"))]
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, part)])
    leaf = _builder(subject, issuer, key).add_extension(alternatives, critical=False).sign(issuer_key, hashes.SHA256())
    (folder / f"{part}.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{part}.key").write_bytes(pem)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + _LIFE)
    )
