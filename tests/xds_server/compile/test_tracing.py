"""Spans of stock Envoys, as a receiver of OTLP gets them: who makes them, their names, which requests have them."""

import secrets

import httpx
import pytest

from tests.support.otlp import Span, receiving
from tests.xds_server.compile.fleet import App, Fleet, address, shop, wait_for

GATEWAY_SLOT = 100
MESH = """
mesh: traced
trust_domain: traced.local
tracing: {otlp: {host: 127.0.0.1, port: PORT}, sampling: 0, from_outside: OUTSIDE}
services:
  web:
    protocol: http
    port: 8080
    calls: [orders]
    expose: {port: 18080, address: GATEWAY}
    routes: [ROUTES]
  orders: {protocol: http, port: 8080ROWS}
"""


class World:
    """A gateway and two services; the tests play web's app when it calls."""

    def __init__(self, fleet: Fleet, apps: dict[str, App], receiver) -> None:
        self.fleet, self.apps, self.receiver = fleet, apps, receiver

    def get(self, path: str, **headers: str) -> dict[str, str]:
        """Ask the gateway; return the headers that web's app got."""
        seen = self.apps["web"].seen
        before = len(seen)
        assert httpx.get(f"http://{address(GATEWAY_SLOT)}:18080{path}", headers=headers).status_code == 200
        return seen[before][2]

    def call_orders(self, headers: dict[str, str], path: str = "/") -> httpx.Response:
        """Call orders as web's app does, with the headers that it carries on."""
        carried = {name: value for name, value in headers.items() if name in ("traceparent", "x-request-id")}
        return httpx.get(f"http://{self.fleet.outbound('web-v1', 'orders')}{path}", headers=carried)

    def spans(self, trace: str, count: int) -> list[Span]:
        wait_for(lambda: len(self.receiver.trace(trace)) >= count)
        return self.receiver.trace(trace)


def mesh(port: int, outside: str) -> str:
    routes = "{match: {prefix: /always}, tracing: {sampling: 100}}" if outside == "ignore" else ""
    rows = ", routes: [{match: {prefix: /seldom}, tracing: {sampling: 0}}]" if outside == "ignore" else ""
    text = MESH.replace("PORT", str(port)).replace("GATEWAY", address(GATEWAY_SLOT))
    return text.replace("OUTSIDE", outside).replace("ROUTES", routes).replace("ROWS", rows)


@pytest.fixture(scope="module")
def world(request, tmp_path_factory):
    with receiving() as receiver:
        text = mesh(receiver.port, getattr(request, "param", "ignore"))
        fleet = Fleet(text, tmp_path_factory.mktemp("fleet"))
        with shop(fleet) as apps:
            yield World(fleet, apps, receiver)


def trace_of(headers: dict[str, str]) -> str:
    return headers["traceparent"].split("-")[1]


def test_each_hop_is_one_span_and_its_parent_is_the_hop_before(world):
    headers = world.get("/always/here")
    world.call_orders(headers)
    spans = world.spans(trace_of(headers), 4)
    root = next(span for span in spans if not span.parent)
    chain = [root]
    while behind := [span for span in spans if span.parent == chain[-1].id]:
        chain += behind
    assert [(span.service, span.kind, span.name) for span in chain] == [
        ("legation-gateway", "server", "GET web"),
        ("web", "server", "GET web"),
        ("web", "client", "GET orders"),
        ("orders", "server", "GET orders"),
    ]
    assert [span.resource["service.instance.id"] for span in chain[1:]] == ["web-v1", "web-v1", "orders-v1"]
    assert {span.resource["service.version"] for span in chain} == {"v1"}


def test_a_span_says_who_called_and_by_which_route(world):
    headers = world.get("/always/here")
    world.call_orders(headers)
    spans = {(span.service, span.kind): span for span in world.spans(trace_of(headers), 4)}
    assert spans["web", "server"].tags["legation.peer"] == "spiffe://traced.local/legation/gateway"
    assert spans["orders", "server"].tags["legation.peer"] == "spiffe://traced.local/web"
    assert spans["legation-gateway", "server"].tags["legation.route"] == "web.routes[0]"
    assert spans["web", "client"].tags["legation.attempts"] == "1"


def test_a_share_of_the_requests_is_traced_and_a_route_may_have_its_own(world):
    """Nothing of a mesh that samples 0 %, all of a row that samples 100 %."""
    before = world.get("/seldom")
    after = world.get("/always/after")
    world.spans(trace_of(after), 2)
    assert before.get("traceparent", "").endswith("-00") or "traceparent" not in before
    assert world.receiver.trace(trace_of(before)) == [] if "traceparent" in before else True


def test_whoever_is_outside_cannot_have_requests_traced(world):
    trace = secrets.token_hex(16)
    asked = {
        "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
        "x-client-trace-id": "1",
        "x-envoy-force-trace": "1",
    }
    got = world.get("/seldom", **asked)
    assert trace not in got.get("traceparent", "")
    world.spans(trace_of(world.get("/always/after")), 2)
    assert world.receiver.trace(trace) == []


@pytest.mark.parametrize("path", ["/", "/seldom"])
def test_an_inner_hop_follows_the_decision_of_the_first(world, path):
    """Sampled by whoever began it, though the mesh samples 0 %, or the row does."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    world.call_orders({"traceparent": f"00-{trace}-{span}-01"}, path)
    first, _ = sorted(world.spans(trace, 2), key=lambda s: s.kind)
    assert (first.kind, first.parent) == ("client", span)
    unsampled = secrets.token_hex(16)
    world.call_orders({"traceparent": f"00-{unsampled}-{span}-00"}, "/always")
    world.spans(trace_of(world.get("/always/after")), 2)
    assert world.receiver.trace(unsampled) == []


@pytest.mark.parametrize("world", ["continue"], indirect=True)
def test_a_client_s_trace_goes_on_where_the_mesh_says_so(world):
    trace = secrets.token_hex(16)
    world.get("/", traceparent=f"00-{trace}-{secrets.token_hex(8)}-01")
    assert {span.service for span in world.spans(trace, 2)} == {"legation-gateway", "web"}
    alone = world.get("/")
    assert alone["traceparent"].endswith("-00"), "the mesh's own share, which is 0, of requests without a trace"


def test_no_app_sees_what_proxies_tell_each_other(world):
    headers = world.get("/always/here")
    world.call_orders(headers)
    seen = [headers for app in world.apps.values() for *_, headers in app.seen]
    assert [name for headers in seen for name in headers if name == "x-client-trace-id"] == []
