"""A stock Envoy takes its identity from certmgr's socket, follows its rotation, and refuses other trust domains."""

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager

from certmgr.core.bundle import Bundle
from certmgr.core.plan import IdentitySpec
from legation.mesh import names
from legation.runtime import binaries
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.world import ORDERS, WEB, Clock, world

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ECHO = "envoy.extensions.filters.network.echo.v3.Echo"


def config(folder, port):
    """An Envoy that echoes over mTLS, with all of its secrets from folder/orders.sock."""
    grpc = [{"envoy_grpc": {"cluster_name": names.SDS_CLUSTER}}]
    api = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": grpc}
    source = {"resource_api_version": "V3", "api_config_source": api}
    tls = {
        "@type": TLS,
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": names.MESH_CERT, "sds_config": source}],
            "validation_context_sds_secret_config": {"name": names.MESH_CA, "sds_config": source},
        },
    }
    listener = {
        "name": "inbound",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [{"name": "echo", "typed_config": {"@type": f"type.googleapis.com/{ECHO}"}}],
            }
        ],
    }
    pipe = {"endpoint": {"address": {"pipe": {"path": str(folder / "orders.sock")}}}}
    options = {"@type": f"type.googleapis.com/{HTTP2}", "explicit_http_config": {"http2_protocol_options": {}}}
    sds = {
        "name": names.SDS_CLUSTER,
        "type": "STATIC",
        "load_assignment": {"cluster_name": names.SDS_CLUSTER, "endpoints": [{"lb_endpoints": [pipe]}]},
        "typed_extension_protocol_options": {HTTP2: options},
    }
    return {"node": {"id": "o", "cluster": "o"}, "static_resources": {"listeners": [listener], "clusters": [sds]}}


@asynccontextmanager
async def envoy(folder, port, content=None):
    file = folder / "envoy.json"
    file.write_text(json.dumps(content or config(folder, port)))
    argv = [binaries.envoy(), "-c", file, "--use-dynamic-base-id", "--concurrency", "1"]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def call(folder, port, client: Bundle) -> str | None:
    """Say hello as a client; return the server's serial, None when the connection is refused."""
    file, anchor = folder / "client.pem", folder / "anchor.pem"
    file.write_bytes(client.key_pem() + client.chain_pem())
    anchor.write_bytes(client.root_pem())
    context = ssl.create_default_context(cafile=anchor)
    context.check_hostname = False
    context.load_cert_chain(file)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"hello")
        echoed = await asyncio.wait_for(reader.read(5), 10)
    except OSError:
        return None
    serial = writer.get_extra_info("peercert")["serialNumber"].lower()
    writer.close()
    return serial if echoed == b"hello" else None


def test_attack_22_envoy_serves_what_certmgr_holds_and_refuses_a_name_of_another_trust_domain(tmp_path):
    async def main():
        port, clock = free_port(), Clock(time.time())
        async with world(tmp_path, clock=clock) as here, envoy(tmp_path, port):
            await here.ready()
            web = here.issuer.issue(WEB)

            async def serves_current():
                return await call(tmp_path, port, web) == here.of("orders").serial

            assert await until(serves_current, 20), (tmp_path / "envoy.log").read_text()[-2000:]
            before = here.of("orders").serial
            assert (await here.agent.renew("orders")).serial != before
            assert await until(serves_current, 20)

            async def both_streams():
                return here.of("orders").streams == 2

            assert await until(both_streams, 20), "one for the certificate, one for the CA"
            foreign = here.issuer.ca.issue(IdentitySpec("web", "spiffe://other.local/web", 3600))
            assert await call(tmp_path, port, foreign) is None, "the name constraint of the intermediate forbids it"
            assert await call(tmp_path, port, web) == here.of("orders").serial

    asyncio.run(main())


def test_attack_37_envoy_refusal_is_seen(tmp_path):
    """A key that does not fit (no check of ours would let it through) is NACKed; the old secret goes on."""

    async def main():
        port, clock = free_port(), Clock(time.time())
        async with world(tmp_path, clock=clock) as here, envoy(tmp_path, port):
            await here.ready()
            web = here.issuer.issue(WEB)

            async def serves():
                return await call(tmp_path, port, web) == here.of("orders").serial

            assert await until(serves, 20)
            secrets = here.agent._held["orders"].secrets
            secrets.show(here.issuer.ca.issue(ORDERS, other_key=True))

            async def refused():
                return secrets.nacked is not None

            assert await until(refused, 10)
            assert await serves()
            assert "a proxy NACKs it" in here.of("orders").error
            assert (await here.agent.renew("orders")).error is None

    asyncio.run(main())
