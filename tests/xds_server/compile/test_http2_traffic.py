"""An app that speaks HTTP/2 alone, in plain text, behind two stock Envoys: asked in HTTP/1.1 and in HTTP/2."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from legation.runtime import binaries
from tests.xds_server.compile.fleet import APP_PORT, Fleet, wait_for

MESH = """
mesh: h2
trust_domain: h2.local
services:
  web: {protocol: http, port: 8080, calls: [items, plain]}
  items:
    protocol: http2
    port: 8080
    routes: [{match: {path: /slow}, timeout: 300ms}]
  plain: {protocol: http, port: 8080}
"""
APP = """
const server = require('http2').createServer((request, answer) => {
  const size = { bytes: 0 };
  request.on('data', part => { size.bytes += part.length });
  request.on('end', () => {
    if (request.url === '/slow') return;
    answer.setHeader('x-version', request.httpVersion);
    answer.end(`${request.method} ${request.url} ${request.authority} ${size.bytes}`);
  });
});
server.listen(+process.argv[2], process.argv[1]);
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    for name in ("web", "items", "plain"):
        fleet.add(name)
    apps = [
        subprocess.Popen([binaries.node(), "-e", APP, fleet.nodes[f"{name}-v1"].app_address, str(APP_PORT)])
        for name in ("items", "plain")
    ]
    with fleet.running():
        wait_for(lambda: ask(fleet).status_code == 200)
        yield fleet
    for app in apps:
        app.kill()
        app.wait()


def ask(fleet: Fleet, method: str = "GET", path: str = "/a?b", service: str = "items", body: bytes = b""):
    url = f"http://{fleet.outbound('web-v1', service)}{path}"
    return httpx.request(method, url, content=body, timeout=20, trust_env=False)


def test_an_app_that_speaks_http2_alone_is_spoken_to_in_http2(fleet: Fleet) -> None:
    found = ask(fleet, "POST", body=b"x" * 100_000)
    assert found.headers["x-version"] == "2.0"
    assert found.text.startswith("POST /a?b ")
    assert found.text.endswith(" 100000")


def test_one_that_is_said_to_speak_http1_is_not(fleet: Fleet) -> None:
    """What makes the difference is the word in mesh.yaml."""
    assert ask(fleet, service="plain").status_code >= 500


def test_a_late_answer_ends_its_request_and_not_its_connection(fleet: Fleet) -> None:
    assert ask(fleet, path="/slow").status_code == 504
    assert ask(fleet).status_code == 200


def test_many_requests_share_a_connection(fleet: Fleet) -> None:
    before = fleet.stat("items-v1", "http.inbound.downstream_cx_active")
    assert before >= 1
    for _ in range(20):
        assert ask(fleet).status_code == 200
    assert fleet.stat("items-v1", "http.inbound.downstream_cx_active") == before
