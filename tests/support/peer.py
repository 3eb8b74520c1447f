"""A peer of a mesh that is no Envoy: it speaks mTLS with whatever identity a test gives it."""

import asyncio
import http.client
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from legation.runtime.identity import Identity, follow
from legation.runtime.tasks import Latest, spawn
from tests.support.mesh import Mesh

REFUSED = (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)
"""What a client sees of a handshake that the server refuses; in TLS 1.3 only when it reads."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Peer:
    """Speaks HTTP/1.1 over mTLS."""

    context: ssl.SSLContext

    def ask(self, address: str, method: str = "GET", path: str = "/", **headers: str) -> Answer:
        """Send one request to host:port, its path as it is; one of `REFUSED` when the handshake is refused."""
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=self.context)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()


def peer(folder: Path, trusted: bytes, pair: bytes | None = None) -> Peer:
    """Return a peer that trusts some CAs (PEM) and has a certificate chain with its key (PEM), or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(cadata=trusted.decode())
    if pair is not None:
        file = folder / "pair.pem"
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as content:
            content.write(pair)
        context.load_cert_chain(file)
        file.unlink()
    return Peer(context)


def peer_of(mesh: Mesh, service: str, folder: Path) -> Peer:
    """Return a peer with a service's own identity, taken over SDS as its Envoy takes it."""
    identity = asyncio.run(_identity(mesh.run / f"sds-{service}.sock"))
    return peer(folder, identity.trust_bundle, identity.private_key + b"\n" + identity.certificate_chain)


async def _identity(socket: Path) -> Identity:
    latest: Latest[Identity | None] = Latest(None)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        following = spawn(group, "identity", follow(socket, "test", latest))
        async for value in latest.watch():
            if value is not None:
                following.cancel()
                return value
    raise AssertionError(f"{socket} gave no identity")
