"""The control API between hosts: TLS 1.3, certificates of the mesh's CA on both ends, and who the peer is.

Both ends use the newest identity in each handshake; what is open keeps the one that it began with, so a
rotation drops no watch.
"""

import asyncio
import ssl
from dataclasses import dataclass

from cryptography import x509

from legation.runtime.control.contexts import Untrusted, context, the_one
from legation.runtime.identity import Identity, serial_of
from legation.runtime.tasks import Latest


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as its certificate says."""

    spiffe_id: str
    serial: str

    @classmethod
    def of(cls, connection: ssl.SSLObject | ssl.SSLSocket | None) -> "Peer":
        """Return whose certificate the handshake has verified; Untrusted without exactly one SPIFFE ID."""
        shown = connection.getpeercert(binary_form=True) if connection is not None else None
        if shown is None:
            raise Untrusted("the peer shows no certificate")
        certificate = x509.load_der_x509_certificate(shown)
        return cls(spiffe_id_of(certificate), serial_of(certificate))


def spiffe_id_of(certificate: x509.Certificate) -> str:
    """Return a certificate's SPIFFE ID; Untrusted where it has none or several."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise Untrusted("the peer's certificate names nobody") from None
    return the_one(found.get_values_for_type(x509.UniformResourceIdentifier))


def server_context(identity: Latest[Identity | None]) -> ssl.SSLContext:
    """Return a server's context, which demands a certificate; the identity must be there at the start."""
    first = identity.value
    if first is None:
        raise ValueError("a server needs its identity before it listens")
    made = first, context(ssl.PROTOCOL_TLS_SERVER, first)

    def take_newest(connection: ssl.SSLObject, _name: str | None, _context_before: ssl.SSLContext) -> None:
        """Answer a client with the newest identity: OpenSSL asks once the client has spoken, whatever name it says."""
        nonlocal made
        newest = identity.value
        if newest is not None and newest != made[0]:
            made = newest, context(ssl.PROTOCOL_TLS_SERVER, newest)
        connection.context = made[1]

    made[1].sni_callback = take_newest
    return made[1]


async def shown_by(host: str, port: int, identity: Identity, limit: float) -> str:
    """Return the serial of the certificate that a server shows to an identity. Whoever it is: OSError, TimeoutError."""
    made = context(ssl.PROTOCOL_TLS_CLIENT, identity)
    made.verify_mode = ssl.CERT_NONE  # what is wrong with it is for the one who asks to see
    async with asyncio.timeout(limit):
        _, writer = await asyncio.open_connection(host, port, ssl=made)
    try:
        return Peer.of(writer.get_extra_info("ssl_object")).serial
    finally:
        writer.close()
