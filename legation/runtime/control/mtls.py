"""The control API between hosts: TLS 1.3, certificates of the mesh's CA on both ends, and who the peer is.

Both ends use the newest identity in each handshake; what is open keeps the one that it began with, so a
rotation drops no watch.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509

from legation.mesh import names
from legation.runtime.http import Secure
from legation.runtime.identity import Identity, serial_of
from legation.runtime.tasks import Latest


class Untrusted(OSError):
    """A peer that is not who it should be, or no identity of ours to meet it with."""


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
    ids = found.get_values_for_type(x509.UniformResourceIdentifier)
    if len(ids) != 1 or not ids[0].startswith("spiffe://"):
        raise Untrusted(f"the peer's certificate has {len(ids)} URIs, and not the one of its SPIFFE ID")
    return ids[0]


def server_context(identity: Latest[Identity | None]) -> ssl.SSLContext:
    """Return a server's context, which demands a certificate; the identity must be there at the start."""
    first = identity.value
    if first is None:
        raise ValueError("a server needs its identity before it listens")
    made = first, _context(ssl.PROTOCOL_TLS_SERVER, first)

    def take_newest(connection: ssl.SSLObject, _name: str | None, _context_before: ssl.SSLContext) -> None:
        """Answer a client with the newest identity: OpenSSL asks once the client has spoken, whatever name it says."""
        nonlocal made
        newest = identity.value
        if newest is not None and newest != made[0]:
            made = newest, _context(ssl.PROTOCOL_TLS_SERVER, newest)
        connection.context = made[1]

    made[1].sni_callback = take_newest
    return made[1]


def to_xds_server(host: str, port: int, identity: Callable[[], Identity | None]) -> Secure:
    """Return the address of xds_server's control API on another host, to which `identity` shows who we are."""

    def context() -> ssl.SSLContext:
        return _context(ssl.PROTOCOL_TLS_CLIENT, _there(identity()))

    def check(connection: ssl.SSLObject) -> None:
        """Refuse whoever is not xds_server of our own trust domain, though the CA has signed for it."""
        own = spiffe_id_of(x509.load_pem_x509_certificates(_there(identity()).certificate_chain)[0])
        expected = names.spiffe_id(names.trust_domain(own), names.XDS_SERVER)
        if (found := Peer.of(connection).spiffe_id) != expected:
            raise Untrusted(f"{host}:{port} is {found}, and not {expected}")

    return Secure(host, port, context, check)


async def shown_by(host: str, port: int, identity: Identity, limit: float) -> str:
    """Return the serial of the certificate that a server shows to an identity. Whoever it is: OSError, TimeoutError."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, identity)
    context.verify_mode = ssl.CERT_NONE  # what is wrong with it is for the one who asks to see
    async with asyncio.timeout(limit):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        return Peer.of(writer.get_extra_info("ssl_object")).serial
    finally:
        writer.close()


def _there(identity: Identity | None) -> Identity:
    if identity is None:
        raise Untrusted("certmgr has given us no certificate yet")
    return identity


def _context(side: int, identity: Identity) -> ssl.SSLContext:
    """Return a context with one identity. Names are checked by us: a SPIFFE ID is no host name."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # nobody comes back by a ticket after his certificate has ended
    context.load_verify_locations(cadata=identity.trust_bundle.decode())
    _load_pair(context, identity)
    return context


def _load_pair(context: ssl.SSLContext, identity: Identity) -> None:
    """Load key and certificate, which Python takes from files alone: from one in memory, which nobody else sees."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(identity.private_key + b"\n" + identity.certificate_chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
