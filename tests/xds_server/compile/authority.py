"""Certificates for tests: a CA, and leaves with one SPIFFE ID, as SDS files."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Authority:
    def __init__(self, trust_domain: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test CA of {trust_domain}")])
        self.ca = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, spiffe_id: str, folder: Path, life: timedelta = timedelta(hours=1)) -> Path:
        """Write cert.pem, key.pem, ca.pem and both SDS files; return the folder."""
        return self.issue_for([spiffe_id], folder, life)

    def issue_for(self, uris: Sequence[str], folder: Path, life: timedelta = timedelta(hours=1)) -> Path:
        """Do so for several names, or a host's where there is none: what no CA of ours would sign."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris] or [x509.DNSName("web")])
        leaf = (
            _builder(x509.Name([]), self._name, key, life)
            .add_extension(sans, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pems = {
            "cert": leaf.public_bytes(serialization.Encoding.PEM),
            "key": private,
            "ca": self.ca.public_bytes(serialization.Encoding.PEM),
        }
        for name, pem in pems.items():
            (folder / f"{name}.pem").write_bytes(pem)
        _secret(
            folder,
            "mesh_cert",
            {
                "tls_certificate": {
                    "certificate_chain": {"inline_string": pems["cert"].decode()},
                    "private_key": {"inline_string": private.decode()},
                }
            },
        )
        _secret(folder, "mesh_ca", {"validation_context": {"trusted_ca": {"inline_string": pems["ca"].decode()}}})
        return folder

    def ca_pem(self) -> str:
        return self.ca.public_bytes(serialization.Encoding.PEM).decode()

    def site(self, hosts: Sequence[str], folder: Path, name: str) -> tuple[Path, Path]:
        """Write <name>.crt and <name>.key of some hosts, and the SDS file of that name; return the two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        leaf = (
            _builder(x509.Name([]), self._name, key).add_extension(sans, critical=True).sign(self._key, hashes.SHA256())
        )
        certificate, private = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.parent.mkdir(parents=True, exist_ok=True)
        certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        _secret(
            folder,
            name,
            {
                "tls_certificate": {
                    "certificate_chain": {"inline_string": certificate.read_text()},
                    "private_key": {"inline_string": private.read_text()},
                }
            },
        )
        return certificate, private


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta = timedelta(hours=1)
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + life)
    )


def _secret(folder: Path, name: str, content: dict) -> None:
    resource = {"@type": SECRET, "name": name, **content}
    (folder / f"{name}.json").write_text(json.dumps({"resources": [resource]}))
