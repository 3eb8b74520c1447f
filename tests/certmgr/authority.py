"""A CA of our own in memory, that can make any mistake: what the real one answers is tested on the real one."""

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certmgr.core.bundle import Bundle
from certmgr.core.plan import IdentitySpec

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
YEAR = 365 * 86400
Key = ec.EllipticCurvePrivateKey


def usage(*, sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(not sign, False, False, False, False, sign, sign, False, False)


class Authority:
    """A root and an intermediate, valid for ten years around `now`."""

    def __init__(
        self,
        now: float,
        domain: str = "shop.local",
        *,
        constrained: bool = True,
        path_length: int = 0,
        critical: bool = True,
        root: str = "root",
        intermediate: str = "int",
    ) -> None:
        self.now, self.name = now, intermediate
        self.root_key, self.key = new_key(), new_key()
        self.root = self._ca(root, self.root_key, root, self.root_key, ())
        bound = (
            ((x509.NameConstraints([x509.UniformResourceIdentifier(domain)], None), critical),) if constrained else ()
        )
        self.intermediate = self._ca(intermediate, self.key, root, self.root_key, bound, path_length)

    def _ca(self, name: str, key: Key, issuer: str, signer: Key, more: tuple, path_length: int | None = 1):
        return sign(
            key,
            name,
            issuer,
            signer,
            (self.now - YEAR, self.now + 10 * YEAR),
            (
                (x509.BasicConstraints(True, path_length), True),
                (usage(sign=True), True),
                *more,
            ),
        )

    def issue(self, spec: IdentitySpec, **wrong: Any) -> Bundle:
        """Return what was asked for, but for what `wrong` says."""
        key = new_key()
        names = wrong.get("names", [x509.UniformResourceIdentifier(spec.spiffe_id)])
        life = wrong.get("life", (self.now - 60, self.now + spec.ttl))
        extensions = [
            (x509.BasicConstraints(wrong.get("ca", False), None), True),
            (wrong.get("usage", usage()), True),
            (x509.ExtendedKeyUsage(wrong.get("purposes", [SERVER, CLIENT])), False),
        ]
        if names:
            extensions.append((x509.SubjectAlternativeName(names), True))
        subject = new_key() if wrong.get("other_key") else key
        leaf = sign(subject, wrong.get("called", ""), self.name, wrong.get("signer", self.key), life, tuple(extensions))
        return Bundle(key, leaf, wrong.get("chain", (self.intermediate,)), wrong.get("root", self.root))


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def sign(
    key: Key, name: str, issuer: str, signer: Key, life: tuple[float, float], extensions: tuple
) -> x509.Certificate:
    builder = x509.CertificateBuilder(called(issuer), called(name), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(when(life[0])).not_valid_after(when(life[1]))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def signed(ca, hosts, *, client=False, **wrong):
    """What Vault would answer for hosts of the gateway, but for what `wrong` says."""
    named = [x509.DNSName(host) for host in hosts]
    purposes = [SERVER, CLIENT] if client else [SERVER]
    return ca.issue(IdentitySpec("edge", "", 60), names=named, purposes=purposes, **wrong)
