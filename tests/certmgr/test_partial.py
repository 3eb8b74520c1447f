"""Envoys that a team configures itself, in three versions: with certificates alone, with telemetry alone."""

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from certmgr.core.plan import IdentitySpec
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.runtime.tasks import until
from tests.certmgr.bao import free_port
from tests.certmgr.world import ORDERS, WEB, Clock, world
from tests.support.envoys import VERSIONS, envoy
from xds_server.compile import BootstrapInput
from xds_server.compile.partial import certificates_alone, telemetry_alone
from xds_server.prove.capabilities import capabilities

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 80, calls: [orders]}
  desk: {protocol: http, port: 80}
  orders: {protocol: http, port: 80}
"""
DESK = IdentitySpec("desk", "spiffe://shop.local/desk", 3600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.headers.get("x-forwarded-client-cert", "").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@asynccontextmanager
async def running(version: str, folder: Path, text: str):
    """Run an Envoy with nothing but a file."""
    file = folder / "bootstrap.json"
    file.write_text(text)
    command = [str(envoy(version)), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def given(folder: Path, app_port: int, lacks: tuple[str, ...] = ()) -> BootstrapInput:
    node = InstanceSpec(
        "orders-1", "orders", "v1", "1", "127.0.0.1", free_port(),
        app_port=app_port, metrics_port=free_port(), standalone=True, lacks=lacks,
    )  # fmt: skip
    return BootstrapInput(node, "shop.local", "127.0.0.1", 1, str(folder / "orders.sock"), str(folder / "admin.sock"))


async def ask(folder: Path, port: int, bundle) -> tuple[int, str] | None:
    """Ask as whoever has a bundle; None where there is no connection."""
    (folder / "client.pem").write_bytes(bundle.key_pem() + bundle.chain_pem())
    (folder / "anchor.pem").write_bytes(bundle.root_pem())
    context = ssl.create_default_context(cafile=folder / "anchor.pem")
    context.check_hostname = False
    context.load_cert_chain(folder / "client.pem")
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        try:
            answer = await client.get(f"https://127.0.0.1:{port}/")
        except (httpx.TransportError, ssl.SSLError):  # httpx lets some alerts of TLS 1.3 through
            return None
    return answer.status_code, answer.text


@pytest.mark.parametrize("version", VERSIONS)
def test_certificates_alone_let_callers_in_as_mesh_yaml_says(tmp_path, version):
    """And follow their rotation; xds_server is not there."""

    async def main():
        app = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=app.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        lacks = (await capabilities(envoy(version))).lacks
        wanted = given(tmp_path, app.server_port, lacks)
        async with world(tmp_path, ORDERS, clock=Clock(time.time())) as here:
            await here.ready()
            async with running(version, tmp_path, certificates_alone(wanted, load(MESH, "mesh.yaml"))):
                port = wanted.node.port

                async def let_in():
                    return await ask(tmp_path, port, here.issuer.issue(WEB)) is not None

                assert await until(let_in, 30), (tmp_path / "envoy.log").read_text()[-2000:]
                status, said = await ask(tmp_path, port, here.issuer.issue(WEB)) or (0, "")
                assert (status, "URI=spiffe://shop.local/web" in said) == (200, True)
                assert (await ask(tmp_path, port, here.issuer.issue(DESK)) or (0, ""))[0] == 403
                foreign = here.issuer.ca.issue(IdentitySpec("web", "spiffe://other.local/web", 3600))
                assert await ask(tmp_path, port, foreign) is None
                await here.agent.renew("orders")

                async def follows():
                    found = (await presented(tmp_path, port, here.issuer.issue(WEB))) or ""
                    return found.lower() == here.of("orders").serial

                assert await until(follows, 10)
        app.shutdown()
        app.server_close()

    asyncio.run(main())


async def presented(folder: Path, port: int, bundle) -> str | None:
    """Return the serial of what the server shows."""
    await ask(folder, port, bundle)
    context = ssl.create_default_context(cafile=folder / "anchor.pem")
    context.check_hostname = False
    context.load_cert_chain(folder / "client.pem")
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_telemetry_alone_is_what_our_rules_read(tmp_path, version):
    async def main():
        wanted = given(tmp_path, 1)
        text = telemetry_alone(wanted)
        assert "sds" not in json.dumps([c["name"] for c in json.loads(text)["static_resources"]["clusters"]])
        async with running(version, tmp_path, text), httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{wanted.node.metrics_port}"

            async def readable():
                try:
                    return (await client.get(f"{url}/stats/prometheus")).status_code == 200
                except httpx.TransportError:
                    return False

            assert await until(readable, 30), (tmp_path / "envoy.log").read_text()[-2000:]
            found = (await client.get(f"{url}/stats/prometheus")).text
            assert "envoy_server_live" in found
            assert "envoy_server_memory" not in found, "what nothing of ours reads is not counted"
            assert (await client.get(f"{url}/config_dump")).status_code == 404

    asyncio.run(main())
