"""Servers outside of the mesh through a stock Envoy: TLS that it begins, and a certificate that it verifies."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.xds_server.compile.fleet import Fleet, address, wait_for
from xds_server.compile.retry import RETRY_HEADER

SLOT, PORT = 130, 8443
MESH = """
mesh: external
trust_domain: external.local
services:
  web: {{protocol: http, port: 8080, calls: [good, unknown, misnamed, plain, raw]}}
  desk: {{protocol: http, port: 8080}}
external:
  good: {{host: localhost, port: {port}, ca: "{ca}"}}
  unknown: {{host: localhost, port: {port}}}
  misnamed: {{host: "{address}", port: {port}, ca: "{ca}"}}
  plain: {{host: "{address}", port: {plain}, tls: false}}
  raw: {{host: "{address}", port: {plain}, tls: false, protocol: tcp}}
"""


class _Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.posts = getattr(self.server, "posts", 0) + 1  # type: ignore[attr-defined]
        self.send_response(500)
        self.send_header(RETRY_HEADER, str(self.server.posts))  # type: ignore[attr-defined]
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = f"{self.headers['host']} {self.path} {'x-forwarded-client-cert' in self.headers}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def certificate(folder: Path) -> Path:
    """Write a certificate of localhost, which vouches for itself, and its key; return the certificate's file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "outside.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "outside.key").write_bytes(private)
    return folder / "outside.pem"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    ca = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, folder / "outside.key")
    # localhost is the only name that every machine resolves
    secure, plain = (ThreadingHTTPServer((host, 0), _Server) for host in ("127.0.0.1", address(SLOT)))
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for server in (secure, plain):
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    text = MESH.format(ca=ca.name, port=secure.server_port, plain=plain.server_port, address=address(SLOT))
    fleet = Fleet(text.replace(f'misnamed: {{host: "{address(SLOT)}"', 'misnamed: {host: "127.0.0.1"'), folder)
    fleet.add("web")
    with fleet.running():
        yield fleet
    for server in (secure, plain):
        server.shutdown()
        server.server_close()


def ask(fleet: Fleet, name: str) -> httpx.Response:
    return httpx.get(f"http://{fleet.outbound('web-v1', name)}/path", timeout=20)


def test_tls_begins_at_the_sidecar_and_the_server_sees_its_own_name(fleet: Fleet) -> None:
    wait_for(lambda: ask(fleet, "good").status_code == 200)
    host, path, certified = ask(fleet, "good").text.split(" ")
    assert (host.partition(":")[0], path, certified) == ("localhost", "/path", "False")


@pytest.mark.parametrize("name", ["unknown", "misnamed"])
def test_a_server_that_cannot_prove_its_name_is_not_spoken_to(fleet: Fleet, name: str) -> None:
    answer = ask(fleet, name)
    assert answer.status_code == 503
    wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in fleet.log("web-v1"))


@pytest.mark.parametrize("name", ["plain", "raw"])
def test_plain_text_is_for_whoever_asks_for_it(fleet: Fleet, name: str) -> None:
    assert ask(fleet, name).text.endswith("/path False")


def test_a_header_by_which_proxies_ask_for_another_try_is_nobodys_outside(fleet: Fleet) -> None:
    """Envoys there use it for something else."""
    answer = httpx.post(f"http://{fleet.outbound('web-v1', 'plain')}/path", timeout=20)
    assert (answer.status_code, answer.headers[RETRY_HEADER]) == (500, "1")


def test_nobody_else_reaches_it(fleet: Fleet) -> None:
    """What a service does not call is unknown to its proxy: there is no listener, no route and no cluster."""
    node = fleet.add("desk")
    snapshot = fleet.compiler.snapshot(node, {})
    named = {name for by_name in snapshot.by_type.values() for name in by_name}
    assert named & {"good", "unknown", "misnamed", "plain", "raw"} == set()
