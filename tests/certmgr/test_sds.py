"""What a proxy is shown, and when."""

import asyncio

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from certmgr.core.plan import IdentitySpec
from certmgr.sds import Secrets, snapshot
from legation.mesh import names
from tests.certmgr.authority import Authority
from xds_server.serve.stream import StreamInfo
from xds_server.snapshot import SECRET

ORDERS = IdentitySpec("orders", "spiffe://shop.local/orders", 3600)
BUNDLE = Authority(1_800_000_000.0).issue(ORDERS)
HELLO = StreamInfo("sds", "node", {}, None, None)


def test_two_secrets_with_constant_names():
    found = snapshot(BUNDLE).of_type(SECRET)
    assert set(found) == {names.MESH_CERT, names.MESH_CA}
    shown = Secret.FromString(found[names.MESH_CERT].body).tls_certificate
    assert shown.certificate_chain.inline_bytes == BUNDLE.chain_pem()
    assert shown.private_key.inline_bytes == BUNDLE.key_pem()
    trusted = Secret.FromString(found[names.MESH_CA].body).validation_context.trusted_ca
    assert trusted.inline_bytes == BUNDLE.root_pem()


def test_nothing_is_said_until_there_is_something_to_say():
    """An empty answer would take from a reconnecting proxy what it has."""

    async def main():
        secrets = Secrets("orders")
        first = await secrets.admit(HELLO)
        assert first.snapshots.value is None
        secrets.show(BUNDLE)
        second = await secrets.admit(HELLO)
        assert second.snapshots.value == first.snapshots.value == snapshot(BUNDLE)
        assert secrets.streams == 2
        secrets.closed(first)
        secrets.closed(second)
        assert secrets.streams == 0

    asyncio.run(main())
