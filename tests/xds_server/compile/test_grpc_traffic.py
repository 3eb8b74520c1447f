"""gRPC through two stock Envoys: plain HTTP/2 at both ends, mTLS between them."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from tests.xds_server.compile.fleet import APP_PORT, Fleet, wait_for

MESH = """
mesh: grpc
trust_domain: grpc.local
services:
  web:
    protocol: http
    port: 8080
    calls:
      - {service: payments, allow: [{paths: [/payments.Payments/*]}]}
  payments:
    protocol: grpc
    port: 9090
    routes:
      - match: {path: /payments.Payments/Read}
        retry: {retry_on: [unavailable], num_retries: 2, base_interval: 10ms, max_interval: 20ms}
"""


class Payments(grpc.GenericRpcHandler):
    """Answers each call with its name, or with UNAVAILABLE."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fails = False

    def service(self, details):
        def answer(_, context):
            self.seen.append(details.method)
            if self.fails:
                context.abort(grpc.StatusCode.UNAVAILABLE, "closed today")
            return details.method.encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add("web")
    fleet.add("payments")
    with fleet.running():
        yield fleet


@pytest.fixture
def start(fleet):
    """Return what starts the app; it ends with the test."""
    servers = []

    def begin(app: Payments) -> None:
        server = grpc.server(ThreadPoolExecutor(4), handlers=[app])
        server.add_insecure_port(f"{fleet.nodes['payments-v1'].app_address}:{APP_PORT}")
        server.start()
        servers.append(server)

    yield begin
    for server in servers:
        server.stop(None).wait(5)


def call(fleet: Fleet, method: str) -> bytes:
    with grpc.insecure_channel(fleet.outbound("web-v1", "payments")) as channel:
        ask: Any = channel.unary_unary(method)
        return bytes(ask(b"", timeout=10))


def test_a_call_goes_through(fleet, start):
    start(Payments())
    assert call(fleet, "/payments.Payments/Charge") == b"/payments.Payments/Charge"


def test_a_call_that_is_not_allowed_is_permission_denied(fleet, start):
    app = Payments()
    start(app)
    with pytest.raises(grpc.RpcError) as refused:
        call(fleet, "/payments.Admin/Drop")
    assert (refused.value.code(), app.seen) == (grpc.StatusCode.PERMISSION_DENIED, [])


def test_a_call_waits_for_an_app_that_comes_back(fleet, start):
    app, stat = Payments(), "cluster._local_app.upstream_cx_connect_fail"
    before = fleet.stat("payments-v1", stat)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(call, fleet, "/payments.Payments/Charge")
        wait_for(lambda: fleet.stat("payments-v1", stat) > before)
        start(app)
        assert answer.result() == b"/payments.Payments/Charge"
    assert app.seen == ["/payments.Payments/Charge"]


def test_a_grpc_status_is_retried_where_the_operator_asks_and_only_there(fleet, start):
    app = Payments()
    app.fails = True
    start(app)
    for method in ("/payments.Payments/Read", "/payments.Payments/Charge"):
        with pytest.raises(grpc.RpcError) as failed:
            call(fleet, method)
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert app.seen == ["/payments.Payments/Read"] * 3 + ["/payments.Payments/Charge"]
    # Counted at the caller, once a call whatever was retried; telemetry.rules.conventions.GRPC_CALLS is this name.
    counted = 'envoy_cluster_grpc_status{envoy_cluster_name="payments",envoy_grpc_status="UNAVAILABLE"} 2'
    with httpx.Client(transport=httpx.HTTPTransport(uds=fleet.admin("web-v1"))) as admin:
        wait_for(lambda: counted in admin.get("http://envoy/stats/prometheus").text.splitlines())
        assert "OK" not in re.findall(r'envoy_grpc_status="(.+?)"', admin.get("http://envoy/stats/prometheus").text)
