"""A stock Envoy shows the world what certmgr has had issued for it, out of an embedded OpenBao without an operator."""

import asyncio
import json
import ssl
from contextlib import closing

from certmgr.ledger import verify
from legation.mesh import names
from legation.mesh.names import serial_text
from legation.runtime.control.messages import RevokeReport, RevokeRequest
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.host import document, host, mesh
from tests.certmgr.test_envoy import TLS, config, envoy

EXPOSED = "  shop: {{protocol: http, port: 80, expose: {{port: 8443, hosts: {hosts}, tls: {{issuer: certmgr}}}}}}\n"


def edge_config(here, folder, port):
    """An Envoy that echoes over TLS, with the gateway's certificate for shop from certmgr's socket."""
    found = config(folder, port)
    (chain,) = found["static_resources"]["listeners"][0]["filter_chains"]
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]
    (secret,) = context["tls_certificate_sds_secret_configs"]
    shown = {"tls_certificate_sds_secret_configs": [{**secret, "name": names.edge_secret("shop")}]}
    chain["transport_socket"]["typed_config"] = {"@type": TLS, "common_tls_context": shown}
    socket = str(here.folder.sds(names.GATEWAY))
    return json.loads(json.dumps(found).replace(str(folder / "orders.sock"), socket))


async def presented(here, port: int, name: str) -> str | None:
    """Return the serial of what a client gets that trusts the mesh's root and wants a host; None: it is not content."""
    try:
        context = ssl.create_default_context(cafile=str(here.folder.certmgr / "root.pem"))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    except OSError:
        return None
    with closing(writer):
        return serial_text(int(writer.get_extra_info("peercert")["serialNumber"], 16))


def test_a_gateways_certificate_is_issued_replaced_and_revoked(tmp_path, seed):
    async def main():
        text = mesh("60s") + "\n" + EXPOSED.format(hosts="[shop.test]")
        async with host(tmp_path / "h", text, seed) as (here, latest):
            port = free_port()
            async with envoy(tmp_path, port, edge_config(here, tmp_path, port)):
                seen = []

                async def another(name):
                    found = await presented(here, port, name)
                    seen.extend([found] if found is not None and found not in seen else [])
                    return found is not None and seen[-1] == found and len(seen) == wanted

                wanted = 1
                assert await until(lambda: another("shop.test"), 60), here.certmgr.log.read_text()[-3000:]
                assert await presented(here, port, "www.shop.test") is None

                latest.set(document(text.replace("[shop.test]", '["*.shop.test", shop.test]')))
                wanted = 2
                assert await until(lambda: another("www.shop.test"), 30), here.certmgr.log.read_text()[-3000:]

                async with here.certmgr.client() as client:
                    order = RevokeRequest(serial=seen[-1], by="test", wait=5)
                    report = await client.send("POST", "/revoke", order, RevokeReport, limit=40)
                assert report.serials == (seen[-1],)
                wanted = 3
                assert await until(lambda: another("shop.test"), 30), here.certmgr.log.read_text()[-3000:]

            status = await here.certmgr.status()
            assert [i.error for i in status.identities if i.name == names.GATEWAY] == [None]
            assert verify([here.folder.certmgr / "ledger.jsonl"])
            assert all(serial in (here.folder.certmgr / "ledger.jsonl").read_text() for serial in seen)
            key = json.loads((here.folder.certmgr / "sites" / "shop.json").read_text())["key"]
            assert key not in here.certmgr.log.read_text()
            latest.set(document(mesh("60s")))

            async def gone():
                return not (here.folder.certmgr / "approle" / f"{names.EDGE}.json").exists()

            assert await until(gone, 20), "what has no host needs no signer"

    asyncio.run(main())
