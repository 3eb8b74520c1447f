"""Who we are: a certificate, its key and whom to trust, followed over SDS as any Envoy would."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from legation.mesh import names
from legation.runtime import secrets_wire, tasks
from legation.runtime.grpc_call import CallEnded, calling
from legation.runtime.secrets_wire import Pems
from legation.runtime.tasks import Latest

METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
RETRY_BASE, RETRY_LIMIT = 0.1, 2.0
"""Seconds of back-off between attempts to reach the socket."""

if TYPE_CHECKING:
    from cryptography import x509

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """An X509-SVID with what verifies its peers, all PEM. `not_after` is in seconds since the epoch.

    `crl` are the lists of revoked certificates that came with the trust bundle; empty where none is shown.
    """

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    trust_bundle: bytes
    serial: str
    not_after: float
    crl: bytes = b""

    @classmethod
    def of(cls, certificate_chain: bytes, private_key: bytes, trust_bundle: bytes) -> "Identity":
        """Return the identity that the PEMs make; ValueError when they do not belong together."""
        # Here alone: a sidecar does without, which is a third of what it holds and a tenth of its image.
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        leaf = x509.load_pem_x509_certificates(certificate_chain)[0]
        if load_pem_private_key(private_key, None).public_key() != leaf.public_key():
            raise ValueError("the private key is not that of the certificate")
        x509.load_pem_x509_certificates(trust_bundle)
        return cls(certificate_chain, private_key, trust_bundle, serial_of(leaf), leaf.not_valid_after_utc.timestamp())


def serial_of(certificate: "x509.Certificate") -> str:
    """Return a serial number as lower-case hex of whole bytes, without colons: as Envoy writes it."""
    return names.serial_text(certificate.serial_number)


Make = Callable[[bytes, bytes, bytes], Identity]
"""Of a certificate chain, its key and a trust bundle; ValueError when they do not belong together."""


async def follow(socket_path: Path, node_id: str, latest: Latest[Identity | None], make: Make = Identity.of) -> None:
    """Keep `latest` at the newest complete identity that the SDS socket gives; ends only by cancellation."""

    def lost(error: Exception, attempt: int) -> None:
        report = log.warning if attempt == 0 else log.debug
        report("identity stream lost", socket=str(socket_path), error=str(error))

    stream = partial(_identities, socket_path, node_id, make)
    async for identity in tasks.follow(stream, lost, transient=(CallEnded,), base=RETRY_BASE, limit=RETRY_LIMIT):
        before = latest.value
        if identity != before:
            latest.set(identity)
        if before is None or replace(identity, crl=before.crl) != before:
            log.info("identity is new", serial=identity.serial, not_after=identity.not_after)


async def _identities(socket_path: Path, node_id: str, make: Make) -> AsyncIterator[Identity]:
    """Yield the identities of one stream, to its end."""
    async with calling(socket_path, METHOD) as call:
        call.write(secrets_wire.first_request(node_id, (names.MESH_CERT, names.MESH_CA)))
        known: dict[str, Pems] = {}
        async for message in call.messages():
            answer, identity = _take(message, known, make)
            call.write(answer)
            if identity is not None:
                yield identity


def _take(message: bytes, known: dict[str, Pems], make: Make) -> tuple[bytes, Identity | None]:
    """Take a response; return its ACK and what identity there is now, or its NACK when what it gives makes none."""
    try:
        given = secrets_wire.response(message)
    except ValueError as error:
        raise CallEnded(f"the server sends what is no response: {error}") from error
    try:
        all_now = known | {name: secrets_wire.secret(data) for name, data in given.resources.items()}
        identity = _identity(all_now, make)
    except ValueError as error:
        log.warning("identity NACKed", error=str(error))
        return secrets_wire.answer(given.nonce, str(error)), None
    known.update(all_now)
    return secrets_wire.answer(given.nonce), identity


def _identity(known: Mapping[str, Pems], make: Make) -> Identity | None:
    """Return the identity that the secrets make, None while one is missing; ValueError when they make none."""
    if not {names.MESH_CERT, names.MESH_CA} <= known.keys():
        return None
    pair = known[names.MESH_CERT]
    peers = known[names.MESH_CA]
    return replace(make(pair.certificate_chain, pair.private_key, peers.trusted_ca), crl=peers.crl)
