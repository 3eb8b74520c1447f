"""`logging.mode` through stock Envoys: what of a request the proxy at either end writes down."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest

from tests.telemetry.logs.test_envoy import Telemetry
from tests.xds_server.compile.fleet import APP_PORT, App, Fleet, wait_for
from tests.xds_server.compile.test_grpc_traffic import Payments

MESH = """
mesh: logged
trust_domain: logged.local
logging: {ASKED}
services:
  web: {protocol: http, port: 8080, calls: [orders, greeter, payments]}
  orders:
    protocol: http
    port: 8080
    routes:
      - {match: {path: /elsewhere}, redirect: {path: /there}}
      - {timeout: 20s, retry: {num_retries: 0}}
  greeter:
    protocol: http
    port: 8080
    routes: [{match: {path: /hello}, respond: {status: 200, body: hello}}, {}]
  payments: {protocol: grpc, port: 9090}
"""
BOTH = {("web", "outbound"), ("orders", "inbound")}


class World:
    def __init__(self, fleet: Fleet, telemetry: Telemetry, orders: App, payments: Payments) -> None:
        self.fleet, self.telemetry, self.orders, self.payments = fleet, telemetry, orders, payments

    def ask(self, path: str, callee: str = "orders") -> int:
        return httpx.get(f"http://{self.fleet.outbound('web-v1', callee)}{path}", timeout=30).status_code

    def call(self, method: str) -> None:
        with grpc.insecure_channel(self.fleet.outbound("web-v1", "payments")) as channel:
            method_of: Any = channel.unary_unary(f"/payments.Payments/{method}")
            method_of(b"", timeout=10)

    def writers(self, text: str, callee: str = "orders") -> set[tuple[str, str]]:
        """Return who has written of a request, once both have written of one that both do, and that came later.

        Where neither does so of what goes well, both do of what their app cannot answer.
        """
        mark = f"/mark/{time.monotonic_ns()}"
        if callee == "payments":
            self.refused(mark.replace("/", ""))
        else:
            self.orders.reset(status=500)
            assert self.ask(mark) == 500
            self.orders.reset()
        self.telemetry.find(2, text=mark.replace("/", "") if callee == "payments" else mark)
        found = self.telemetry.find(0, text=text)
        return {(r.service, r.fields["direction"]) for r in found}

    def refused(self, method: str) -> None:
        """Call a method of payments whose answer is trailers alone: UNAVAILABLE."""
        self.payments.fails = True
        with pytest.raises(grpc.RpcError):
            self.call(method)
        self.payments.fails = False


@contextmanager
def running(folder, asked: str) -> Iterator[World]:
    telemetry = Telemetry(folder)
    (folder / "fleet").mkdir()
    fleet = Fleet(MESH.replace("ASKED", asked), folder / "fleet", logs_socket=str(telemetry.socket))
    nodes = {name: fleet.add(name) for name in ("web", "orders", "greeter", "payments")}
    app, payments = App(nodes["orders"].address, "orders"), Payments()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[payments])
    server.add_insecure_port(f"{nodes['payments'].app_address}:{APP_PORT}")
    server.start()
    try:
        with telemetry.running(), fleet.running():
            yield World(fleet, telemetry, app, payments)
    finally:
        server.stop(None)
        app.stop()


@pytest.fixture(scope="module")
def world(request, tmp_path_factory):
    with running(tmp_path_factory.mktemp("mode"), request.param) as world:
        yield world


def asking(logging: str) -> pytest.MarkDecorator:
    """Return what runs a test in a mesh whose `logging` says so."""
    return pytest.mark.parametrize("world", [logging], indirect=True, ids=[""])


usual = asking("max_megabytes: 256")


@usual
def test_what_went_well_is_written_by_who_served_it_and_says_who_called(world):
    assert world.ask("/well") == 200
    assert world.writers("/well") == {("orders", "inbound")}
    (record,) = world.telemetry.find(1, text="/well")
    assert record.fields["peer"] == "spiffe://logged.local/web"


@usual
def test_a_call_of_grpc_that_went_well_is_written_once_too(world):
    world.call("Charge")
    assert world.writers("Payments/Charge", "payments") == {("payments", "inbound")}


@usual
@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_did_not_go_well_is_written_by_both(world, status):
    world.orders.reset(status=status)
    assert world.ask(f"/not-well/{status}") == status
    assert world.writers(f"/not-well/{status}") == BOTH


@usual
def test_a_grpc_status_in_an_answer_without_a_message_is_a_failure_to_both(world):
    world.refused("Refuse")
    assert world.writers("Payments/Refuse", "payments") == {("web", "outbound"), ("payments", "inbound")}


@usual
def test_what_takes_a_second_is_written_by_both(world):
    world.orders.gate.clear()
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as waiting:
        answer = waiting.submit(world.ask, "/slow")
        wait_for(lambda: bool(world.orders.seen) and time.monotonic() - begun > 1.1)
        world.orders.gate.set()
        assert answer.result() == 200
    assert world.writers("/slow") == BOTH


@usual
@pytest.mark.parametrize(
    ("callee", "path", "status"),
    [("orders", "/elsewhere", 301), ("greeter", "/hello", 200)],
    ids=["a redirect", "an answer of the route's own"],
)
def test_what_no_instance_has_heard_of_is_written_by_the_caller(world, callee, path, status):
    assert world.ask(path, callee) == status
    assert world.writers(path) == {("web", "outbound")}


@asking("mode: client_and_server")
def test_with_both_ends_each_writes_what_went_well(world):
    world.ask("/well")
    world.call("Charge")
    assert world.writers("/well") == BOTH
    assert world.writers("Payments/Charge", "payments") == {("web", "outbound"), ("payments", "inbound")}


@asking("mode: client_and_server, sampling: 0")
def test_where_none_of_what_goes_well_is_kept_no_proxy_writes_it(world):
    world.ask("/well")
    world.call("Charge")
    world.refused("Refuse")
    assert world.writers("/well") == set()
    assert world.writers("Payments/Charge", "payments") == set()
    assert world.writers("Payments/Refuse", "payments") == {("web", "outbound"), ("payments", "inbound")}
