"""Envoys that a team runs itself, in three versions, with everything: instances as all others."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from legation.mesh import names
from legation.mesh.load import load
from tests.support.envoys import VERSIONS, envoy
from tests.support.mesh import PLAIN, Mesh, legation, wait_for

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
def started(mesh: Mesh, folder: Path, version: str, number: int) -> Iterator[App]:
    """Run an app, and an Envoy of some version before it, with nothing but what `legation render bootstrap` wrote."""
    at, program = address(mesh, number), envoy(version)
    app = App(at, version)
    words = ("--service", "legacy", "--address", at, "--app-address", at, "--app-port", str(app.port))
    who = ("--state", str(mesh.state), "--instance", name(version, number))
    done = legation("render", "bootstrap", *who, *words)
    file = folder / f"{version}.json"
    file.write_text(done.stdout)
    with (folder / f"{version}.log").open("w") as log:
        command = [str(program), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield app
    finally:
        process.kill()
        process.wait()
        app.stop()


def name(version: str, number: int) -> str:
    return f"legacy-{version.replace('.', '-')}-{number}"


def well(mesh: Mesh) -> set[str]:
    return {i.id for i in mesh.instances("legacy").values() if i.healthy and i.synced}


def ask(mesh: Mesh) -> httpx.Response:
    """Call legacy as web's app does."""
    web = mesh.first("web")
    listened = load(mesh.file.read_text(), "mesh.yaml").mesh.listened("web")
    before = ["catalog", "orders", names.PASSTHROUGH]
    port = names.outbound_ports(listened, {name: names.OUTBOUND_PORT_BASE + i for i, name in enumerate(before)})
    url = f"http://{web.inbound.rpartition(':')[0]}:{port['legacy']}/"
    return httpx.get(url, trust_env=False, timeout=20, verify=PLAIN)


def test_a_team_s_own_envoys_are_instances_as_all_others(shop_with_legacy: Mesh, tmp_path: Path) -> None:
    """Each takes its share; one whose app is gone is left out by its own checks, and nobody notices."""
    mesh = shop_with_legacy
    with (
        started(mesh, tmp_path, "1.36.4", 0) as oldest,
        started(mesh, tmp_path, "1.38.3", 1),
        started(mesh, tmp_path, "1.40.0", 2),
    ):
        everybody = {name(version, number) for number, version in enumerate(VERSIONS)}
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
        wait_for("it is left out", lambda: well(mesh) == everybody - {name("1.36.4", 0)} or None, 20)
        answers = [ask(mesh) for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
    wait_for("they leave with their streams", lambda: not well(mesh) or None, 20)
