"""What TLS proved of a peer, and our own identity followed over SDS from our own server."""

import asyncio

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from legation.mesh import names
from legation.runtime.identity import Identity, follow, serial_of
from legation.runtime.tasks import Latest
from tests.xds_server.serve.world import Authority, Consumer, seen
from xds_server.protocol.types import Acknowledged, Nacked
from xds_server.serve.credentials import peer_certificate, peer_spiffe_id, server_credentials
from xds_server.serve.server import serve
from xds_server.snapshot import SECRET, Resource, Snapshot


@pytest.mark.parametrize(
    ("proven", "expected"),
    [
        ({}, None),
        ({"peer_spiffe_id": [b"spiffe://shop/web"]}, "spiffe://shop/web"),
        ({"x509_subject_alternative_name": [b"web.shop", b"spiffe://shop/web"]}, "spiffe://shop/web"),
        ({"x509_subject_alternative_name": [b"spiffe://shop/a", b"spiffe://shop/b"]}, None),
        ({"x509_subject_alternative_name": [b"web.shop"]}, None),
    ],
)
def test_exactly_one_spiffe_id_is_an_identity(proven, expected):
    assert peer_spiffe_id(proven) == expected


@pytest.mark.parametrize(("serial", "text"), [(0xABC, "0abc"), (0xAB, "ab"), (1, "01"), (1 << 152, "01" + "0" * 38)])
def test_a_serial_is_lower_case_hex_of_whole_bytes(serial, text):
    identity = Authority().issue("spiffe://shop/web", serial)
    certificate = peer_certificate({"x509_pem_cert": [identity.certificate_chain]})
    assert certificate is not None
    assert serial_of(certificate) == identity.serial == text
    assert peer_certificate({}) is None


def test_a_server_does_not_start_without_its_identity():
    with pytest.raises(ValueError, match="needs its identity"):
        server_credentials(Latest(None))


def test_a_key_is_never_shown_and_never_of_another_certificate():
    one, two = (Authority().issue("spiffe://shop/web", n) for n in (1, 2))
    assert "PRIVATE" not in repr(one)
    with pytest.raises(ValueError, match="private key is not that of"):
        Identity.of(one.certificate_chain, two.private_key, one.trust_bundle)


def secrets(cert: Identity, trusted: bytes | None = None, key: bytes | None = None) -> Snapshot:
    pair, ca = Secret(name=names.MESH_CERT), Secret(name=names.MESH_CA)
    pair.tls_certificate.certificate_chain.inline_bytes = cert.certificate_chain
    pair.tls_certificate.private_key.inline_string = (key or cert.private_key).decode()
    ca.validation_context.trusted_ca.inline_bytes = trusted or cert.trust_bundle
    return Snapshot.of(Resource.of(SECRET, secret.name, secret.SerializeToString()) for secret in (pair, ca))


def test_an_identity_is_followed_through_rotation_refusal_and_restart(tmp_path):
    path = tmp_path / "sds.sock"
    authority = Authority()
    one, two, three = (authority.issue("spiffe://shop/legation/xds-server", n) for n in (1, 2, 3))

    async def main():
        latest: Latest[Identity | None] = Latest(None)
        follower = asyncio.ensure_future(follow(path, "xds-server", latest))
        consumer = Consumer(Latest(Snapshot.of([])))
        async with serve(consumer, address=path, grace=0.2):
            await seen(lambda: bool(consumer.of(Acknowledged)))
            assert latest.value is None
            half = secrets(one).of_type(SECRET)[names.MESH_CERT]
            consumer.snapshots.set(Snapshot.of([half]))
            await seen(lambda: consumer.of(Acknowledged)[-1].snapshot is consumer.snapshots.value)
            assert latest.value is None
            consumer.snapshots.set(secrets(one))
            await seen(lambda: latest.value == one)
            consumer.snapshots.set(secrets(two, key=one.private_key))
            await seen(lambda: "private key is not that of" in "".join(n.error for n in consumer.of(Nacked)))
            assert latest.value == one
            consumer.snapshots.set(secrets(two))
            await seen(lambda: latest.value == two)
            await seen(lambda: consumer.of(Acknowledged)[-1] == Acknowledged(consumer.snapshots.value, {}))
            assert [(info.service, info.node_id) for info in consumer.infos] == [("sds", "xds-server")]
        consumer = Consumer(Latest(secrets(three)))
        async with serve(consumer, address=path, grace=0.2):
            await seen(lambda: latest.value == three)
        assert not follower.done()
        follower.cancel()

    asyncio.run(main())
