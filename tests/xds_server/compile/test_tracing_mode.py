"""`tracing.mode: server` through stock Envoys: who makes a span of a call, and what the spans hang together by."""

import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.support.otlp import receiving
from tests.telemetry.logs.test_envoy import Telemetry
from tests.xds_server.compile.fleet import APP_PORT, Fleet, address, shop
from tests.xds_server.compile.test_tracing import GATEWAY_SLOT, World, trace_of

OUTSIDE_SLOT = 140
MESH = """
mesh: traced
trust_domain: traced.local
tracing: {otlp: {host: 127.0.0.1, port: PORT}, sampling: 100, mode: server}
services:
  web: {protocol: http, port: 8080, calls: [orders, away, bank], expose: {port: 18080, address: GATEWAY}}
  orders: {protocol: http, port: 8080, routes: [{match: {prefix: /seldom}, tracing: {sampling: 0}}]}
  away: {protocol: http, port: 8080, routes: [{timeout: 1s}]}
external:
  bank: {host: OUTSIDE, port: APP_PORT, tls: false}
"""


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telemetry]:
    with Telemetry(tmp_path_factory.mktemp("logs")).running() as running:
        yield running


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, telemetry: Telemetry) -> Iterator[World]:
    with receiving() as receiver:
        text = MESH.replace("APP_PORT", str(APP_PORT)).replace("PORT", str(receiver.port))
        text = text.replace("GATEWAY", address(GATEWAY_SLOT)).replace("OUTSIDE", address(OUTSIDE_SLOT))
        fleet = Fleet(text, tmp_path_factory.mktemp("fleet"), logs_socket=str(telemetry.socket))
        with shop(fleet, OUTSIDE_SLOT) as apps:
            yield World(fleet, apps, receiver)


def test_a_call_is_one_span_of_who_serves_it_below_its_callers_own(world: World) -> None:
    headers = world.get("/")
    world.call_orders(headers)
    spans = {(span.service, span.kind): span for span in world.spans(trace_of(headers), 3)}
    gateway, web, orders = (spans[n, "server"] for n in ("legation-gateway", "web", "orders"))
    assert (gateway.parent, web.parent, orders.parent) == ("", gateway.id, web.id)
    assert orders.tags["legation.peer"] == "spiffe://traced.local/web"
    assert len(world.receiver.trace(trace_of(headers))) == 3


def test_what_begins_in_an_app_is_decided_about_by_who_serves_it(world: World) -> None:
    world.call_orders({}, "/seldom")
    headers = world.apps["orders"].seen[-1][2]
    (only,) = world.spans(trace_of(headers), 1)
    assert (only.service, only.parent) == ("orders", "")


def test_whether_a_trace_is_sampled_reaches_who_serves_it(world: World) -> None:
    unsampled, span = secrets.token_hex(16), secrets.token_hex(8)
    world.call_orders({"traceparent": f"00-{unsampled}-{span}-00"})
    world.spans(trace_of(world.get("/")), 2)
    assert trace_of(world.apps["orders"].seen[-1][2]) == unsampled
    assert world.receiver.trace(unsampled) == []


def test_a_call_to_a_server_outside_is_a_span_of_the_callers(world: World) -> None:
    trace = secrets.token_hex(16)
    asked = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert httpx.get(f"http://{world.fleet.outbound('web-v1', 'bank')}/", headers=asked).status_code == 200
    (only,) = world.spans(trace, 1)
    assert (only.service, only.kind, only.name) == ("web", "client", "GET bank")


def test_a_caller_s_record_of_what_failed_has_its_trace_without_a_span(world: World, telemetry: Telemetry) -> None:
    trace = secrets.token_hex(16)
    asked = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert httpx.get(f"http://{world.fleet.outbound('web-v1', 'away')}/", headers=asked).status_code >= 500
    (record,) = telemetry.find(1, trace=trace)
    assert (record.service, record.fields["direction"]) == ("web", "outbound")
    assert world.receiver.trace(trace) == []
