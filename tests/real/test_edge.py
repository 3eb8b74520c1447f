"""The gateway's TLS in a whole mesh: from mesh.yaml and files to what a client sees, and a host that is added."""

import re
import ssl
from pathlib import Path

import httpx
import pytest

from tests.support.mesh import Mesh, legation, wait_for
from tests.xds_server.compile.authority import Authority

pytestmark = pytest.mark.timeout(120)
PORT = 18443
EXPOSED = """    expose:
      port: {port}
      hosts: [catalog.test]
      tls: {{cert: {name}.crt, key: {name}.key}}
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
