"""Services that share a port, by their names: what an Envoy counts of each is what it would count of one alone."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import httpx
import pytest

from tests.xds_server.compile.fleet import App, Fleet, wait_for

MESH = """
mesh: apart
trust_domain: apart.local
services:
  web: {protocol: http, port: 80, calls: [orders, items]}
  orders: {protocol: http, port: 18080, routes: [{timeout: 5s}], expose: {port: 18081, hosts: [orders.example.com]}}
  items: {protocol: http, port: 18080, routes: [{timeout: 5s}], expose: {port: 18081, hosts: [items.example.com]}}
"""
OUT, IN = 18080, 18081
ROW = re.compile(r"envoy_http_downstream_(?P<what>rq_[a-z_]+)\{(?P<labels>[^}]*)\} (?P<value>\d+)")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, App]]:
    """An Envoy of each, and the app of items."""
    fleet = Fleet(MESH, tmp_path_factory.mktemp("apart"))
    fleet.nodes["web-v1"] = replace(fleet.add("web"), by_name=True, app_address="localhost")
    fleet.add("legation-gateway")
    orders, items = (App(fleet.add(name).address, name) for name in ("orders", "items"))
    with fleet.running():
        wait_for(lambda: ask(fleet, "orders") == ask(fleet, "items") == 200)
        yield fleet, items
    orders.stop()
    items.stop()


@pytest.fixture
def fleet(world: tuple[Fleet, App]) -> Fleet:
    return world[0]


def ask(fleet: Fleet, host: str, path: str = "/", timeout: float = 8) -> int:
    """Ask as web's app does, for a name; what is behind the gateway is asked for with its whole host."""
    url = f"http://127.0.0.1:{IN}" if "." in host else f"http://{fleet.nodes['web-v1'].own_address}:{OUT}"
    headers = {"host": host, "connection": "close"}
    return httpx.get(url + path, headers=headers, timeout=timeout, trust_env=False).status_code


def counted(fleet: Fleet, node: str, service: str) -> Mapping[tuple[str, str], int]:
    """What Prometheus reads of a service at one of its callers: by the metric's name, and its class or bucket."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=fleet.admin(node)), base_url="http://envoy") as admin:
        text = admin.get("/stats/prometheus").text
    prefix = f'envoy_http_conn_manager_prefix="{"gateway" if "gateway" in node else "outbound"}_{service}"'
    found = [row for row in ROW.finditer(text) if prefix in row["labels"]]
    kinds = [re.search(r'(?:class|le)="([^"]+)"', row["labels"]) for row in found]
    return {(r["what"], k[1] if k else ""): int(r["value"]) for r, k in zip(found, kinds, strict=True)}


@pytest.mark.parametrize(("node", "tail"), [("web-v1", ""), ("legation-gateway-v1", ".example.com")])
def test_each_service_on_a_shared_port_has_counters_of_its_own(fleet: Fleet, node: str, tail: str) -> None:
    assert ask(fleet, "orders" + tail) == ask(fleet, "items" + tail) == 200
    wait_for(lambda: ("rq_xx", "2") in counted(fleet, node, "items"))
    before, other = counted(fleet, node, "orders"), counted(fleet, node, "items")
    assert (before["rq_xx", "5"], before["rq_xx", "4"]) == (0, 0), "seen before the first"
    assert {ask(fleet, "orders" + tail) for _ in range(3)} == {200}
    wait_for(lambda: counted(fleet, node, "orders")["rq_xx", "2"] == before["rq_xx", "2"] + 3)
    wait_for(lambda: counted(fleet, node, "orders").get(("rq_time_count", ""), 0) >= before["rq_xx", "2"] + 3)
    assert ("rq_time_bucket", "250") in counted(fleet, node, "orders"), "the buckets that objectives are put on"
    assert counted(fleet, node, "items")["rq_xx", "2"] == other["rq_xx", "2"]


@pytest.mark.parametrize(("node", "tail"), [("web-v1", ""), ("legation-gateway-v1", ".example.com")])
def test_a_request_that_its_caller_gives_up_is_in_no_class(world: tuple[Fleet, App], node: str, tail: str) -> None:
    fleet, items = world
    assert ask(fleet, "items" + tail) == 200
    wait_for(lambda: ("rq_xx", "2") in counted(fleet, node, "items"))
    before = counted(fleet, node, "items")
    items.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        ask(fleet, "items" + tail, timeout=0.3)
    items.gate.set()
    wait_for(
        lambda: counted(fleet, node, "items").get(("rq_given_up", ""), 0) == before.get(("rq_given_up", ""), 0) + 1
    )
    assert counted(fleet, node, "items")["rq_xx", "2"] == before["rq_xx", "2"]


@pytest.mark.parametrize(("node", "host"), [("web-v1", "nobody"), ("legation-gateway-v1", "no.example.org")])
def test_who_asks_for_nobody_is_counted_for_nobody(fleet: Fleet, node: str, host: str) -> None:
    assert ask(fleet, host) == 404
    assert not counted(fleet, node, "")
    in_one = counted(fleet, node, f"_{OUT if node == 'web-v1' else IN}")
    assert not {"rq_xx", "rq_time_count"} & {what for what, _ in in_one}, "each would be counted twice"
    assert "non-number" not in fleet.log(node)
