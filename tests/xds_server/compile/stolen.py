"""An app whose peers show certificates: one that is revoked, among thousands of others, and its successor."""

import ssl
from pathlib import Path

import httpx
from cryptography import x509

from tests.support.envoys import VERSIONS, envoy
from tests.xds_server.compile.fleet import App, Fleet
from xds_server.revocations import Revocations

MESH = """
mesh: gone
trust_domain: gone.local
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders: {protocol: http, port: 8080, routes: [{match: {path: /chat}, websocket: true}]}
"""


def serial(folder: Path) -> str:
    number = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex()


class World:
    def __init__(self, folder: Path, program: Path | None = None, lacks: tuple[str, ...] = ()) -> None:
        self.fleet = Fleet(MESH, folder, program=program or envoy(VERSIONS[-1]), lacks=lacks)
        self.contexts: dict[Path, ssl.SSLContext] = {}
        self.node = self.fleet.add("orders")
        self.stolen, self.fresh = (
            self.fleet.authority.issue("spiffe://gone.local/web", folder / name) for name in ("stolen", "fresh")
        )
        others = frozenset(f"{number:040x}" for number in range(1, 2000))
        self.fleet.compiler.revoke(Revocations(frozenset({serial(self.stolen), *others})))
        self.app = App(self.node.address, self.node.id)

    def ask(self, shown: Path, path: str = "/", **headers: str) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(shown / "cert.pem", shown / "key.pem")
        with httpx.Client(verify=context, timeout=10) as client:
            return client.get(f"https://{self.node.address}:{self.node.port}{path}", headers=headers).status_code
