"""The edge of a whole mesh: the gateway's TLS from files, and a team that migrates from plain text to mTLS."""

import asyncio
import re
import ssl
from pathlib import Path

import httpx
import pytest

from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import ApplyResult, MeshDocument
from legation.runtime.tasks import until
from tests.support.load import Load, Mixed, Report, Request
from tests.support.mesh import PLAIN, Mesh, legation, wait_for
from tests.xds_server.compile.authority import Authority

pytestmark = pytest.mark.timeout(120)
PORT = 18443
EXPOSED = """    expose:
      port: {port}
      hosts: [catalog.test]
      tls: {{cert: {name}.crt, key: {name}.key}}
"""
ISSUED = """    expose:
      port: {port}
      hosts: [issued.test, "*.issued.test"]
      tls: {{issuer: certmgr}}
"""


def test_a_service_is_offered_over_tls_with_the_operator_s_certificate(shop: Mesh, tmp_path: Path) -> None:
    authority, folder = Authority("edge"), shop.file.parent
    before = [authority.site(["catalog.test"], tmp_path / str(n), "edge") for n in range(2)]
    trust = ssl.create_default_context(cadata=authority.ca_pem())

    def put(number: int) -> None:
        for path in before[number]:
            (folder / path.name).write_bytes(path.read_bytes())

    def serial() -> str | None:
        with httpx.Client(verify=trust, timeout=10) as client:
            sni = {"sni_hostname": "catalog.test"}
            try:
                with client.stream(
                    "GET", f"https://127.0.0.1:{PORT}/items", headers={"host": "catalog.test"}, extensions=sni
                ) as answer:
                    peer = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
                    return str(peer["serialNumber"]) if answer.status_code == 200 else None
            except httpx.TransportError:
                return None

    put(0)
    text = EXPOSED.format(port=PORT, name="edge")
    with shop.edited(lambda old: re.sub(r"(\n  catalog:[^\n]*\n)", lambda m: m[1] + text, old, count=1)):
        wait_for("the gateway shows the certificate", lambda: serial() is not None, 20)
        first = serial()
        put(1)
        wait_for("the gateway shows the new one", lambda: serial() not in (None, first), 20)
        assert shop.get("/").status_code == 200
        assert legation("status", "--state", str(shop.state)).returncode == 0
    keys = (folder / "edge.key").read_text().splitlines()[1]
    assert all(keys not in log.read_text(errors="replace") for log in shop.state.rglob("*.log"))


def test_a_service_is_offered_over_tls_with_a_certificate_that_certmgr_has_issued(shop: Mesh) -> None:
    """Nobody is asked for anything: mesh.yaml names the host, and clients that trust the mesh's root are content."""
    text = ISSUED.format(port=PORT + 1)
    root = shop.state / "certmgr" / "root.pem"

    def status(host: str) -> int | None:
        trust = ssl.create_default_context(cafile=str(root))
        with httpx.Client(verify=trust, timeout=10, trust_env=False) as client:
            try:
                url, told = f"https://127.0.0.1:{PORT + 1}/items", {"host": host}
                return client.get(url, headers=told, extensions={"sni_hostname": host}).status_code
            except httpx.TransportError:
                return None

    with shop.edited(lambda old: re.sub(r"(\n  catalog:[^\n]*\n)", lambda m: m[1] + text, old, count=1)):
        wait_for("the gateway shows it", lambda: status("issued.test") == 200 or None, 30)
        assert status("a.issued.test") == 200
        assert status("other.test") is None
        assert shop.status().problems == ()
        assert legation("certs", "timeline", "legation-edge", "--state", str(shop.state)).stdout.count("issue") >= 1


def test_a_team_migrates_to_mtls_without_a_failed_request(shop: Mesh) -> None:
    """Strict, permissive while old clients come in plain text, and strict again once they have moved."""
    strict, items = shop.file.read_text(), Mixed((Request("GET", "/items"),))
    plain = f"http://{shop.instance('catalog-v1-0').inbound}"

    async def taken(path: str) -> bool:
        async with httpx.AsyncClient(timeout=5, verify=PLAIN) as client:
            try:
                return (await client.get(f"{plain}{path}")).status_code == 200
            except httpx.TransportError:
                return False

    async def main() -> tuple[Report, Report]:
        client = ControlClient(shop.run / "xds_server.sock", 30)

        async def apply(text: str) -> None:
            document = MeshDocument(file=str(shop.file), text=text)
            result = await client.send("PUT", "/mesh", document, ApplyResult)
            assert (result.violations, result.changed) == ((), True)

        async def refused() -> bool:
            return not await taken("/items")

        async def let_in() -> bool:
            return await taken("/items")

        async with Load(shop.gateway, rate=50, connections=10) as load:
            await load.run_for(1)
            await apply(f"mtls: permissive\n{strict}")
            assert await until(let_in, 30)
            async with Load(plain, rate=200, connections=50, mix=items) as old_clients:
                await old_clients.run_for(4)
            await apply(strict)
            assert await until(refused, 30)
            await load.run_for(2)
        return load.report, old_clients.report

    for report in asyncio.run(main()):
        assert report.failures == (), report.summary()
