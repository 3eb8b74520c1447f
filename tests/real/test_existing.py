"""Envoys that a team runs itself, in three versions: with everything, with certificates alone, with telemetry alone."""

import json
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection
from threading import Thread

import httpx
import pytest

from legation.mesh import names
from legation.mesh.load import load
from tests.support.envoys import VERSIONS, envoy
from tests.support.mesh import Mesh, legation, wait_for

LEGACY = "  legacy: {protocol: http, port: 80}\n"


def with_legacy(text: str) -> str:
    """The shop, and a service that web may call, whose instances nobody here starts."""
    with_it = text.replace("services:\n", f"services:\n{LEGACY}", 1)
    return with_it.replace("    calls:\n", "    calls:\n      - legacy\n", 1)


class App:
    """What a team has already: it answers with its name."""

    def __init__(self, at: str, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = f"{name} {self.headers.get('x-forwarded-client-cert', '')}".encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((at, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def shop_with_legacy(shop_mesh: Mesh) -> Iterator[Mesh]:
    shop_mesh.settle()
    with shop_mesh.edited(with_legacy):
        yield shop_mesh


def address(mesh: Mesh, number: int) -> str:
    """An address of the mesh's own block that `up` gives to nobody."""
    block = json.loads((mesh.state / "host.json").read_text())["block"]
    return f"127.{64 + block}.{names.HOST_SLOT}.{100 + number}"


@contextmanager
def started(mesh: Mesh, folder: Path, version: str, number: int, *more: str) -> Iterator[App]:
    """Run an app, and an Envoy of some version before it, with nothing but what `legation render bootstrap` wrote."""
    at, program = address(mesh, number), envoy(version)
    app = App(at, version)
    words = ("--service", "legacy", "--address", at, "--app-address", at, "--app-port", str(app.port))
    done = legation("render", "bootstrap", "--state", str(mesh.state), *words, "--instance", name(version), *more)
    file = folder / f"{version}.json"
    file.write_text(done.stdout)
    with (folder / f"{version}.log").open("w") as log:
        command = [program, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield app
    finally:
        process.kill()
        process.wait()
        app.stop()


def name(version: str) -> str:
    return f"legacy-{version.replace('.', '-')}"


def well(mesh: Mesh) -> set[str]:
    return {i.id for i in mesh.instances("legacy").values() if i.healthy and i.synced}


def ask(mesh: Mesh) -> httpx.Response:
    """Call legacy as web's app does."""
    web = mesh.first("web")
    called = load(mesh.file.read_text(), "mesh.yaml").mesh.reached("web")
    port = names.outbound_ports(called, {n: names.OUTBOUND_PORT_BASE + i for i, n in enumerate(["catalog", "orders"])})
    url = f"http://{web.inbound.rpartition(':')[0]}:{port['legacy']}/"
    return httpx.get(url, trust_env=False, timeout=20)


def test_a_team_s_own_envoys_are_instances_as_all_others(shop_with_legacy: Mesh, tmp_path: Path) -> None:
    """Each takes its share; one whose app is gone is left out by its own checks, and nobody notices."""
    mesh = shop_with_legacy
    with (
        started(mesh, tmp_path, "1.36.4", 0) as oldest,
        started(mesh, tmp_path, "1.38.3", 1),
        started(mesh, tmp_path, "1.40.0", 2),
    ):
        everybody = {name(version) for version in VERSIONS}
        wait_for("all three are well", lambda: well(mesh) == everybody or None, 60)
        wait_for("web calls them", lambda: ask(mesh).status_code == 200 or None, 20)
        answers = [ask(mesh) for _ in range(90)]
        assert {answer.status_code for answer in answers} == {200}
        shares = Counter(answer.text.split(" ")[0] for answer in answers)
        assert set(shares) == set(VERSIONS)
        assert min(shares.values()) >= 15, shares
        assert all("URI=spiffe://shop.local/web" in answer.text for answer in answers), "over mTLS, as web"
        assert "proxy is older" in mesh.log("xds_server")
        oldest.stop()
        wait_for("it is left out", lambda: well(mesh) == everybody - {name("1.36.4")} or None, 20)
        answers = [ask(mesh) for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
    wait_for("they leave with their streams", lambda: not well(mesh) or None, 20)


@pytest.mark.parametrize("version", VERSIONS)
def test_certificates_alone_let_callers_in_as_mesh_yaml_says(
    shop_with_legacy: Mesh, tmp_path: Path, version: str
) -> None:
    mesh = shop_with_legacy
    with started(mesh, tmp_path, version, 3, "--only", "certificates", "--envoy", str(envoy(version))):
        at = address(mesh, 3)
        wait_for("web is let in", lambda: call(mesh, at, "web") == 200 or None, 30)
        assert call(mesh, at, "orders") == 403
        assert call(mesh, at, None) is None
        assert name(version) not in mesh.instances("legacy"), "xds_server has never heard of it"


def call(mesh: Mesh, at: str, caller: str | None) -> int | None:
    """Say hello as a service of the mesh; return the status, None where there is no connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(mesh.state / "certmgr" / "root.pem")
    if caller is not None:
        context.load_cert_chain(mesh.state / "certmgr" / "identities" / f"{caller}.pem")
    try:
        with closing(create_connection((at, names.INBOUND_PORT), 10)) as plain, context.wrap_socket(plain) as secure:
            assert json.dumps(secure.getpeercert()).count("spiffe://shop.local/legacy") == 1
            secure.sendall(b"GET / HTTP/1.1\r\nhost: legacy\r\nconnection: close\r\n\r\n")
            return int(b"".join(iter(lambda: secure.recv(4096), b"")).split(b" ")[1])
    except OSError:
        return None


@pytest.mark.parametrize("version", VERSIONS)
def test_telemetry_alone_is_what_our_rules_read(shop_with_legacy: Mesh, tmp_path: Path, version: str) -> None:
    mesh = shop_with_legacy
    with started(mesh, tmp_path, version, 4, "--only", "telemetry"):
        url = f"http://{address(mesh, 4)}:{names.METRICS_PORT}"
        text = wait_for("it can be read", lambda: read(f"{url}/stats/prometheus"), 30)
        assert "envoy_server_live" in text
        assert "envoy_server_memory" not in text, "what nothing of ours reads is not counted"
        assert httpx.get(f"{url}/config_dump", trust_env=False).status_code == 404


def read(url: str) -> str | None:
    try:
        answer = httpx.get(url, trust_env=False, timeout=5)
    except httpx.HTTPError:
        return None
    return answer.text if answer.status_code == 200 else None
