"""`legation telemetry doctor`: what it shows and how it leaves, by a fake Envoy's and a fake telemetry's word."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.runtime.control.log_messages import LogPage, LogRecord
from legation.runtime.control.messages import Instance, InstanceList, MeshDocument, TelemetryStatus
from legation.runtime.control.server import reply
from tests.cli.conftest import Home
from tests.support.served import served
from tests.telemetry.registry import instance

TEXT = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders: {protocol: http, port: 8080, health_check: {path: /healthz}}
"""


class Envoy(BaseHTTPRequestHandler):
    """Counts requests, shows the count, and lists itself as telemetry's discovery does."""

    asked: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        if self.path == "/sd":
            body = json.dumps([{"targets": [], "labels": {"instance": "web-v1-1"}}])
        elif self.path == "/stats/prometheus":
            prefix = 'envoy_http_conn_manager_prefix="outbound_orders"'
            body = f"envoy_http_downstream_rq_xx{{{prefix}}} {len(self.asked)}\n"
        else:
            self.asked.append((self.path, self.headers["x-request-id"]))
            body = ""
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def envoy() -> Iterator[int]:
    Envoy.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Envoy)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def xds_server(*instances: Instance) -> list[Route]:
    async def mesh(_: Request) -> Response:
        return reply(MeshDocument(file="mesh.yaml", text=TEXT, version="1"))

    async def known(_: Request) -> Response:
        return reply(InstanceList(instances=instances))

    return [Route("/mesh", mesh), Route("/instances", known)]


def telemetry(port: int, *, keeps: bool) -> list[Route]:
    async def status(_: Request) -> Response:
        url = f"http://127.0.0.1:{port}/sd"
        return reply(TelemetryStatus(pid=1, ready=True, discovery_url=url, targets=1))

    async def logs(request: Request) -> Response:
        assert request.query_params["request"] == Envoy.asked[-1][1]
        ends = ("web", "orders") if keeps else ("web",)
        passed_on = {"upstream_instance": "orders-v1-1"}
        records = tuple(
            LogRecord(time=1.0, kind="access", service=s, instance=s, text="", fields=passed_on) for s in ends
        )
        return reply(LogPage(records=records, last=1))

    return [Route("/status", status), Route("/logs", logs)]


@pytest.mark.parametrize("keeps", [True, False])
def test_each_link_is_shown_and_a_broken_one_is_a_finding(home: Home, keeps: bool) -> None:
    with envoy() as port, home.host() as host:
        web = instance(1, "web", outbound_ports={"orders": port}, metrics_port=port, address="127.0.0.1")
        host.state.instance(web.id).mkdir(parents=True)
        with (
            served(host.state.control("xds_server"), xds_server(web)),
            served(host.state.control("telemetry"), telemetry(port, keeps=keeps)),
        ):
            done = home.legation("telemetry", "doctor", "--wait", "1")
            said = home.legation("telemetry", "doctor", "--wait", "1", "-o", "json")
            none = home.legation("telemetry", "doctor", "--from", "orders", "-o", "yaml")
    assert (done.exit_code, said.exit_code, none.exit_code) == (0 if keeps else 3, 0 if keeps else 3, 3), done.output
    assert Envoy.asked[0][0] == "/healthz"
    found = json.loads(said.stdout)
    states = {finding["link"]: finding["state"] for finding in found["findings"]}
    assert states == {
        "request": "ok", "statistics": "ok", "discovery": "ok", "logs": "ok" if keeps else "broken",
        "prometheus": "off", "rules": "off", "traces": "off", "log receiver": "off", "gateway": "off",
    }  # fmt: skip
    assert found["hop"]["destination"] == "orders"
    assert ("there is no record of orders" in done.stdout) is not keeps
    assert "no call from orders" in none.stdout


def test_a_mesh_that_does_not_answer_is_unreachable(home: Home) -> None:
    assert home.legation("telemetry", "doctor").exit_code == 4
    with home.host():
        done = home.legation("telemetry", "doctor")
    assert (done.exit_code, "xds_server" in done.stderr) == (4, True)
    assert home.legation("telemetry", "doctor", "--wait", "soon").exit_code == 2
