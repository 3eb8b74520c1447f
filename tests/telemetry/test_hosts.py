"""Two telemetries meet: who is taken for one, and what becomes of a certificate that is revoked."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from legation.runtime import http
from legation.runtime.identity import Identity
from legation.runtime.tasks import Latest, until
from telemetry.hosts import is_revoked, listen, to_telemetry
from tests.xds_server.serve.envoy import free_port
from tests.xds_server.serve.world import Authority

TELEMETRY, WEB = "spiffe://shop.local/legation/telemetry", "spiffe://shop.local/web"


def crl(name: str, *serials: int) -> bytes:
    now = datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateRevocationListBuilder(issuer, now, now + timedelta(hours=1))
    for serial in serials:
        made = made.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, now).build())
    return made.sign(generate_private_key(SECP256R1()), SHA256()).public_bytes(Encoding.PEM)


def test_a_certificate_is_revoked_by_any_list_that_came_with_our_identity() -> None:
    ours = Identity(b"", b"", b"", "1", 0.0, crl("one", 0x0A1B, 2) + crl("another", 3).rstrip())
    assert [is_revoked(serial, ours) for serial in ("0a1b", "02", "03", "04")] == [True, True, True, False]
    assert not is_revoked("02", Identity(b"", b"", b"", "1", 0.0))
    assert not is_revoked("02", None)


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


def test_a_revoked_certificate_is_refused_at_either_end() -> None:
    """Also on connections that are older than the list, and at nobody who is not telemetry is anything answered."""
    authority, port = Authority(), free_port()
    here, there, web = (authority.issue(who, serial) for who, serial in ((TELEMETRY, 1), (TELEMETRY, 2), (WEB, 3)))

    async def scene() -> None:
        identity: Latest[Identity | None] = Latest(here)
        server = asyncio.ensure_future(listen(f"127.0.0.1:{port}", identity, {("GET", "/"): hello}))

        async def asked(who: Identity) -> tuple[int, str]:
            got = await http.request(to_telemetry(f"127.0.0.1:{port}", Latest(who)), "GET", "/", limit=10)
            return got.status, got.text

        async def is_up() -> bool:
            try:
                return await asked(there) == (200, "hello")
            except http.HttpError:
                return False

        assert await until(is_up, 10)
        assert (await asked(web))[0] == 403
        secure = to_telemetry(f"127.0.0.1:{port}", Latest(there))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=secure.context())
        identity.set(replace(here, crl=crl("one", 2)))
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"403" in await reader.readline()
        writer.close()
        assert await asked(there) == (403, "certificate 02 is revoked\n")
        with pytest.raises(http.HttpError, match="shows a certificate that is revoked: 01"):
            await asked(replace(there, crl=crl("one", 1)))
        server.cancel()
        await asyncio.wait([server])

    asyncio.run(scene())
