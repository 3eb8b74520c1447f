"""mTLS that follows a changing identity, and what it proves of a client."""

from collections.abc import Iterable, Mapping

import grpc
from cryptography import x509

from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest


def server_credentials(identity: Latest[Identity | None]) -> grpc.ServerCredentials:
    """Return credentials that use the newest identity in each handshake, and demand a client certificate.

    The identity must be there at the start. An open connection keeps the one that it began with.
    """
    used = identity.value
    if used is None:
        raise ValueError("a server needs its identity before it listens")

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """Return what to use from now on; None is "as before". grpc asks in a thread of its own."""
        nonlocal used
        now = identity.value
        if now is None or now == used:
            return None
        used = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        newest,  # type: ignore[arg-type]  # None is documented, and not in the stubs
        require_client_authentication=True,
    )


def peer_spiffe_id(proven: Mapping[str, Iterable[bytes]]) -> str | None:
    """Return the SPIFFE ID that the client proved; None without TLS, or without exactly one."""
    for key in ("peer_spiffe_id", "x509_subject_alternative_name"):
        ids = [name.decode() for name in proven.get(key, ()) if name.startswith(b"spiffe://")]
        if ids:
            return ids[0] if len(ids) == 1 else None
    return None


def peer_certificate(proven: Mapping[str, Iterable[bytes]]) -> x509.Certificate | None:
    """Return the client's certificate; None without TLS."""
    for pem in proven.get("x509_pem_cert", ()):
        return x509.load_pem_x509_certificate(pem)
    return None


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    pair = (identity.private_key, identity.certificate_chain)
    return grpc.ssl_server_certificate_configuration([pair], identity.trust_bundle)
