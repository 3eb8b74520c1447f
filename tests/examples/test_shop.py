"""The shop runs by itself, as any Node.js services do: no mesh takes part here."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from legation.mesh.load import load
from legation.runtime.binaries import node
from tests.support.mesh import PLAIN

SHOP = Path(__file__).parents[2] / "examples" / "shop"
STARTED = "listens on"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class App:
    """One running service."""

    process: subprocess.Popen[str]
    url: str

    def end(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)


def start(service: str, **env: str) -> App:
    """Start a service of the shop and wait until it says that it listens."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    process = subprocess.Popen(
        [str(node()), f"{service}/server.js"],
        cwd=SHOP,
        env={**clean, "HOST": "127.0.0.1", "PORT": str(port), "INSTANCE": f"{service}-1", **env},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()  # ends when the process does
    assert STARTED in line, f"{service} did not start: {line!r}"
    return App(process, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, App]]:
    """All four services, each on a port of its own."""
    apps = {"payments": start("payments"), "catalog": start("catalog", VERSION="v2")}
    payments = apps["payments"].url.rpartition(":")[2]
    apps["orders"] = start("orders", PAYMENTS_HOST="127.0.0.1", PAYMENTS_PORT=payments)
    apps["web"] = start("web", CATALOG_URL=apps["catalog"].url, ORDERS_URL=apps["orders"].url)
    yield apps
    for app in apps.values():
        app.process.kill()
        app.process.wait()


@pytest.fixture
def web(shop: dict[str, App]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shop["web"].url, trust_env=False, timeout=10, verify=PLAIN) as client:
        yield client


def test_a_plain_get_passes_through_every_service(web):
    answer = web.get("/")
    assert answer.status_code == 200
    assert {name: answer.headers.get(name) for name in INSTANCES} == INSTANCES
    assert answer.json()["served_by"] == {"service": "web", "version": "v1", "instance": "web-1"}
    assert answer.json()["answered"]["catalog"]["version"] == "v2"
    assert answer.json()["payments"]["instance"] == "payments-1"


INSTANCES = {
    "x-instance": "web-1",
    "x-catalog-instance": "catalog-1",
    "x-orders-instance": "orders-1",
    "x-payments-instance": "payments-1",
}


def test_browsers_get_a_page(web):
    answer = web.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert answer.headers["content-type"].startswith("text/html")
    assert "Green tea" in answer.text
    assert "payments-1" in answer.text


def test_an_order_is_paid_and_kept(web):
    before = web.get("/").json()["payments"]["total_cents"]
    answer = web.post("/orders", json={"item": "lamp", "quantity": 2})
    assert answer.status_code == 201
    order = answer.json()["order"]
    assert (order["item"], order["amount_cents"]) == ("lamp", 7800)
    assert order["payment_id"]
    after = web.get("/").json()
    assert after["orders"][0]["id"] == order["id"]
    assert after["payments"]["total_cents"] == before + 7800


def test_an_order_by_form_leads_back_to_the_page(web):
    answer = web.post("/orders", data={"item": "tea"}, headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ('{"item": "boat"}', 404, "no item boat"),
        ('{"item": "piano"}', 402, "card declined"),
        ('{"item": "tea", "quantity": 0}', 400, "an order is"),
        ('{"item"', 400, "no JSON"),
    ],
)
def test_what_the_customer_did_wrong_is_said(web, body, status, error):
    answer = web.post("/orders", content=body)
    assert answer.status_code == status
    assert error in answer.json()["error"]


@pytest.mark.parametrize("service", ["web", "catalog", "orders"])
def test_each_http_service_says_that_it_is_well(shop, service):
    answer = httpx.get(f"{shop[service].url}/healthz", trust_env=False, verify=PLAIN)
    assert (answer.status_code, answer.headers["x-instance"]) == (200, f"{service}-1")


@pytest.mark.parametrize("asked", ["", "payments.Payments"])
def test_payments_answers_the_grpc_health_check(shop, asked):
    import grpc

    # grpc.health.v1: the request is the service's name in field 1, SERVING is 1 in field 1
    request = bytes([10, len(asked)]) + asked.encode() if asked else b""
    with grpc.insecure_channel(shop["payments"].url.removeprefix("http://")) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(request, timeout=5) == b"\x08\x01"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_attempts_at_a_failure_are_counted(web, method):
    path, key = "/proxy/orders/fail", f"count-{method}"
    answers = [web.request(method, path, params={"code": 503, "times": 2, "key": key}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert web.get("/proxy/orders/hits", params={"key": key}).json()["hits"] == 3
    assert web.get("/proxy/catalog/hits", params={"key": key}).json()["hits"] == 0


def test_without_a_key_attempts_are_counted_by_request_id(web):
    web.get("/proxy/catalog/fail", headers={"x-request-id": "abc-1"})
    assert web.get("/proxy/catalog/hits", params={"key": "abc-1"}).json()["hits"] == 1


def test_a_failing_upstream_is_named_with_its_reason():
    with socket.socket() as silent:  # bound, and listening to nobody
        silent.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{silent.getsockname()[1]}"
        web = start("web", CATALOG_URL=gone, ORDERS_URL=gone)
        try:
            answer = httpx.get(web.url, trust_env=False, verify=PLAIN)
        finally:
            web.end()
    assert answer.status_code == 502
    assert answer.json()["reason"] == "ECONNREFUSED"


def test_the_proxy_passes_requests_and_answers_as_they_are(web):
    answer = web.post("/proxy/orders/orders", content=b'{"item": "tea", "price_cents": 5}')
    assert answer.status_code == 201
    assert answer.json()["served_by"]["service"] == "orders"
    assert (answer.headers["x-instance"], answer.headers["x-orders-instance"]) == ("web-1", "orders-1")


def test_trace_headers_go_on_to_the_called_services():
    carried = {"traceparent": "00-1-2-01", "tracestate": "a=b", "baggage": "k=v", "x-request-id": "r-1"}
    with socket.create_server(("127.0.0.1", 0)) as upstream, ThreadPoolExecutor() as pool:
        url = f"http://127.0.0.1:{upstream.getsockname()[1]}"
        web = start("web", CATALOG_URL=url)
        order = pool.submit(httpx.post, f"{web.url}/orders", headers=carried, trust_env=False)
        connection, _ = upstream.accept()
        head = connection.recv(65536).decode()
        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
        assert order.result(timeout=10).status_code == 404
        connection.close()
        web.end()
    for name, value in carried.items():
        assert f"\r\n{name}: {value}\r\n" in head


@pytest.mark.parametrize("service", ["web", "catalog", "orders"])
def test_sigterm_lets_the_request_in_flight_finish(service):
    app = start(service)
    with (
        ThreadPoolExecutor() as pool,
        httpx.Client(base_url=app.url, trust_env=False, timeout=10, verify=PLAIN) as client,
    ):
        slow = pool.submit(client.get, "/slow", params={"ms": 700, "key": "grace"})
        limit = time.monotonic() + 5
        while httpx.get(f"{app.url}/hits?key=grace", trust_env=False, verify=PLAIN).json()["hits"] == 0:
            assert time.monotonic() < limit
        assert app.end() == 0
        assert slow.result().status_code == 200
        assert slow.result().json()["ms"] == 700
        assert slow.result().headers["connection"] == "close"


def test_after_sigterm_it_serves_on_for_as_long_as_it_is_told():
    """On a connection that was idle by then too; the answer says that it is the last one there."""
    app = start("catalog", SHUTDOWN_DELAY_MS="1000")
    with httpx.Client(base_url=app.url, trust_env=False, timeout=10, verify=PLAIN) as client:
        assert client.get("/items").headers["connection"] == "keep-alive"
        app.process.send_signal(signal.SIGTERM)
        while (answer := client.get("/items")).headers["connection"] == "keep-alive":
            assert answer.status_code == 200
        assert answer.status_code == 200
    assert app.process.wait(timeout=10) == 0


def test_sigterm_ends_payments():
    assert start("payments").end() == 0


def test_the_lock_file_names_no_registry():
    lock = json.loads((SHOP / "package-lock.json").read_text())
    packages = {name: value for name, value in lock["packages"].items() if name}
    assert [name for name, value in packages.items() if "resolved" in value] == []
    assert [name for name, value in packages.items() if "integrity" not in value] == []


def test_mesh_yaml_is_a_mesh():
    mesh = load((SHOP / "mesh.yaml").read_text(), "mesh.yaml").mesh
    assert {(w.service, w.version): w.instances for w in mesh.workloads} == {
        ("web", "v1"): 1,
        ("catalog", "v1"): 1,
        ("catalog", "v2"): 1,
        ("orders", "v1"): 2,
        ("payments", "v1"): 1,
    }
    assert mesh.exposed() == ("web",)
    assert all((SHOP / w.command[1]).is_file() for w in mesh.workloads)
