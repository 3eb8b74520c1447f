"""With what both ends of the control API meet over TLS, and the client's end. Light: sidecars of other hosts have it.

What is in a certificate is read by the standard library alone, as what a handshake has verified.
"""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from legation.mesh import names
from legation.runtime import host_port
from legation.runtime.http import Secure
from legation.runtime.identity import Identity


class Untrusted(OSError):
    """A peer that is not who it should be, or no identity of ours to meet it with."""


def the_one(uris: Sequence[str]) -> str:
    """Return the SPIFFE ID among a certificate's URIs; Untrusted where it is not the only one."""
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise Untrusted(f"the peer's certificate has {len(uris)} URIs, and not the one of its SPIFFE ID")
    return uris[0]


def context(side: int, identity: Identity) -> ssl.SSLContext:
    """Return a context with one identity. Names are checked by us: a SPIFFE ID is no host name."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if side == ssl.PROTOCOL_TLS_SERVER:
        made.num_tickets = 0  # nobody comes back by a ticket after his certificate has ended
    made.load_verify_locations(cadata=identity.trust_bundle.decode())
    _load_pair(made, identity)
    return made


def _load_pair(made: ssl.SSLContext, identity: Identity) -> None:
    """Load key and certificate, which Python takes from files alone: from one in memory, which nobody else sees."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(identity.private_key + b"\n" + identity.certificate_chain)
        made.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def to_xds_server(place: str, identity: Callable[[], Identity | None]) -> Secure:
    """Return the address of xds_server's control API at another host's host:port; `identity` shows it who we are."""
    return to_component(names.XDS_SERVER, place, identity)


def to_component(name: str, place: str, identity: Callable[[], Identity | None]) -> Secure:
    """Return the address of one of our services at host:port: met with our identity, and only if it is that one."""
    host, port = host_port.split(place)

    def own() -> ssl.SSLContext:
        return context(ssl.PROTOCOL_TLS_CLIENT, _there(identity()))

    def check(connection: ssl.SSLObject) -> None:
        """Refuse whoever is not that service of our own trust domain, though the CA has signed for it."""
        expected = names.spiffe_id(names.trust_domain(own_id(_there(identity()))), name)
        if (found := the_one(_uris(connection.getpeercert() or {}))) != expected:
            raise Untrusted(f"{place} is {found}, and not {expected}")

    return Secure(host, port, own, check)


def own_id(identity: Identity) -> str:
    """Return the SPIFFE ID that an identity is; Untrusted where it is none."""
    return the_one(_uris(seen(identity)))


def seen(identity: Identity) -> Mapping[str, Any]:
    """Return our certificate as a peer sees it (ssl.SSLSocket.getpeercert), by a handshake with ourselves, in memory.

    Untrusted where key, certificate and CA do not belong together.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        server = context(ssl.PROTOCOL_TLS_SERVER, identity).wrap_bio(to_server, to_client, server_side=True)
        client = context(ssl.PROTOCOL_TLS_CLIENT, identity).wrap_bio(to_client, to_server)
        for end in (client, server, client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
        return client.getpeercert() or {}
    except (ssl.SSLError, ValueError) as error:
        raise Untrusted(f"our own certificate does not hold: {error}") from error


def shown(chain: bytes, key: bytes, bundle: bytes) -> Identity:
    """Return the identity that PEMs make, as a peer would see it; ValueError when they do not belong together."""
    bare = Identity(chain, key, bundle, "", 0.0)
    try:
        certificate = seen(bare)
    except Untrusted as error:
        raise ValueError(str(error)) from error
    until = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
    return replace(bare, serial=str(certificate["serialNumber"]).lower(), not_after=until)


def _uris(certificate: Mapping[str, Any]) -> Sequence[str]:
    return [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]


def _there(identity: Identity | None) -> Identity:
    if identity is None:
        raise Untrusted("certmgr has given us no certificate yet")
    return identity
