"""Certificates that the operator keeps in files: whether the gateway can show them, and to whom; CAs' files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePath

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from legation.mesh.ca_files import ca_files
from legation.mesh.errors import Violation
from legation.mesh.model.expose import Expose
from legation.mesh.model.mesh import Mesh
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path, SourcedMesh
from legation.mesh.wording import shown

Read = Callable[[str], bytes]
"""Returns a file's content; OSError, with the reason, where there is none."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with what vouches for it, and its key, both in PEM; `not_after` is in seconds since the epoch.

    `issued`: certmgr had it issued; else it is out of the operator's files.
    """

    chain: bytes
    key: bytes = field(repr=False)
    hosts: tuple[str, ...]
    not_after: float
    issued: bool = False


@dataclass(frozen=True, slots=True)
class Files:
    """The two files of a service, as mesh.yaml names them."""

    cert: str
    key: str


class Unusable(Exception):
    """Why two files are no certificate and its key; `field` is the one that is to be mended."""

    def __init__(self, field: str, text: str) -> None:
        """Take the field's name, and the reason, which quotes no file."""
        super().__init__(text)
        self.field = field


def key_pair(tls: Files, read: Read) -> KeyPair:
    """Return what the two files of a service hold; Unusable where that cannot be shown to anybody."""
    certificates = _certificates(tls.cert, _content("cert", tls.cert, read))
    key = _key(tls.key, _content("key", tls.key, read))
    spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*spki) != certificates[0].public_key().public_bytes(*spki):
        raise Unusable("key", f"{tls.key} is not the key of the first certificate in {tls.cert}")
    return KeyPair(
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        hosts=_hosts(certificates[0]),
        not_after=certificates[0].not_valid_after_utc.timestamp(),
    )


def edge_services(mesh: Mesh) -> Iterator[tuple[str, Expose, Files]]:
    """Yield the services that have a certificate in files at the gateway."""
    for name, service in mesh.services.items():
        if service.expose is not None and (tls := service.expose.tls) is not None and tls.cert and tls.key:
            yield name, service.expose, Files(tls.cert, tls.key)


def edge_file_violations(sourced: SourcedMesh, read: Read, now: float) -> tuple[Violation, ...]:
    """Return what is wrong with the files that a mesh names."""
    found = (_violations(name, expose, tls, read, now) for name, expose, tls in edge_services(sourced.mesh))
    return tuple(sorted(broken.violation(sourced) for broken in chain.from_iterable(found)))


def ca_file_violations(sourced: SourcedMesh, read: Read) -> tuple[Violation, ...]:
    """Return what is wrong with files of CAs in mesh.yaml's folder; others are for the host of whoever reads them."""
    folder = PurePath(sourced.file).parent
    here = ((path, ca) for path, ca in ca_files(sourced.mesh) if PurePath(ca).is_relative_to(folder))
    found = ((path, _fault(ca, read)) for path, ca in here)
    return tuple(RuleViolation(path, fault, ()).violation(sourced) for path, fault in found if fault)


def _fault(ca: str, read: Read) -> str:
    try:
        _certificates(ca, _content("ca", ca, read))
    except Unusable as error:
        return str(error)
    return ""


def _violations(name: str, expose: Expose, tls: Files, read: Read, now: float) -> Iterator[RuleViolation]:
    here: Path = ("services", name, "expose")
    try:
        pair = key_pair(tls, read)
    except Unusable as error:
        yield RuleViolation((*here, "tls", error.field), str(error), ())
        return
    if pair.not_after <= now:
        yield RuleViolation((*here, "tls", "cert"), f"{tls.cert} has expired: renew it", ())
    for i, host in enumerate(expose.hosts):
        if not covers(pair.hosts, host):
            known = ", ".join(pair.hosts) or "no host at all"
            message = f"{shown(host)} is not in {tls.cert}, which is for {known}: clients would refuse it"
            yield RuleViolation((*here, "hosts", i), message, ())


def covers(names: Sequence[str], host: str) -> bool:
    """Say whether a certificate with these names is good for a host (RFC 9525 §6.3: `*` is one label)."""
    return host in names or f"*.{host.partition('.')[2]}" in names


def _content(field: str, path: str, read: Read) -> bytes:
    try:
        return read(path)
    except OSError as error:
        raise Unusable(field, f"cannot read {path}: {error.strerror or error}") from None


def _certificates(path: str, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise Unusable("cert", f"{path} holds no certificate in PEM") from None


def _key(path: str, content: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(content, None)
    except TypeError:
        raise Unusable("key", f"{path} is locked by a passphrase, which nobody is here to give") from None
    except (ValueError, UnsupportedAlgorithm):  # the parser's own words might quote the file
        raise Unusable("key", f"{path} holds no private key in PEM") from None


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
