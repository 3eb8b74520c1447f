"""Which instance gets a request, seen through stock Envoys: hashes, zones, failover, slow start, limits, ejection."""

import socket
import ssl
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.xds_server.compile.fleet import App, Fleet, wait_for
from xds_server.endpoint import Endpoint

MESH = """
mesh: balancing
trust_domain: balancing.local
services:
  web:
    protocol: http
    port: 8080
    calls:
      [cookies, sources, near, fair, slow, panicky, backed, narrow, waiting, budget, fives, gateways, worst, rated,
       dialled, short]
  cookies:
    protocol: http
    port: 8080
    load_balancing: {policy: ring_hash, hash_cookie: {name: session, ttl: 1h}}
  sources: {protocol: http, port: 8080, load_balancing: {policy: maglev, hash_source_address: true}}
  near:
    protocol: http
    port: 8080
    load_balancing: {locality: prefer_local}
  fair: {protocol: http, port: 8080, load_balancing: {policy: random, locality: zone_aware}}
  slow: {protocol: http, port: 8080, load_balancing: {slow_start: 5s}}
  panicky: {protocol: http, port: 8080, load_balancing: {panic_threshold: 60}}
  backed: {protocol: http, port: 8080, failover: spare}
  spare: {protocol: http, port: 8080}
  narrow:
    protocol: http
    port: 8080
    circuit_breaker: {max_requests: 1}
    routes: [{retry: {num_retries: 0}}]
  waiting:
    protocol: http
    port: 8080
    circuit_breaker: {max_connections: 1, max_pending_requests: 1, max_retries: 5}
    routes: [{retry: {num_retries: 0}}]
  budget:
    protocol: http
    port: 8080
    circuit_breaker: {retry_budget: {budget_percent: 1, min_retry_concurrency: 0}}
    routes: [{retry: {retry_on: [5xx], num_retries: 3}}]
  fives: {protocol: http, port: 8080, outlier_detection: {consecutive_5xx: 3, base_ejection_time: 60s}}
  gateways:
    protocol: http
    port: 8080
    outlier_detection: {consecutive_gateway_failure: 3, base_ejection_time: 300ms, interval: 100ms}
  worst:
    protocol: http
    port: 8080
    outlier_detection:
      failure_percentage_threshold: 50
      failure_percentage_minimum_hosts: 2
      failure_percentage_request_volume: 5
      interval: 500ms
  rated:
    protocol: http
    port: 8080
    outlier_detection:
      success_rate_minimum_hosts: 2
      success_rate_request_volume: 5
      success_rate_stdev_factor: 500
      interval: 500ms
  dialled:
    protocol: http
    port: 8080
    routes: [{retry: {num_retries: 0}}]
    outlier_detection:
      consecutive_local_origin_failure: 3
      split_external_local_origin_errors: true
      base_ejection_time: 60s
  short:
    protocol: http
    port: 8080
    connections: {max_requests_per_connection: 2, connect_timeout: 1s, idle_timeout: 200ms, max_connections: 1}
"""
TWO = ("cookies", "sources", "slow", "panicky", "fives", "gateways", "worst", "rated")
ONE = ("backed", "spare", "narrow", "waiting", "budget", "dialled", "short")


class World:
    def __init__(self, fleet: Fleet, apps: dict[str, App]) -> None:
        self.fleet, self.apps = fleet, apps

    def client(self, callee: str, caller: str = "web-v1-a", **more) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.fleet.outbound(caller, callee)}", timeout=10, **more)

    def answers(self, callee: str, count: int, caller: str = "web-v1-a", **more) -> Counter[str]:
        with self.client(callee, caller) as client:
            return Counter(client.get("/", **more).text for _ in range(count))

    def tell(self, absent: set[str] | None = None, unwell: set[str] | None = None) -> None:
        self.fleet.absent, self.fleet.unwell = absent or set(), unwell or set()
        self.fleet.tell()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    for service, version, zone in [
        ("web", "v1", "a"), ("web", "v1", "b"), *((s, v, "") for s in TWO for v in ("v1", "v2")),
        *((s, "v1", z) for s in ("near", "fair") for z in "ab"), *((s, "v1", "") for s in ONE),
    ]:  # fmt: skip
        fleet.add(service, version, zone)
    fleet.extra["dialled"] = (Endpoint("dialled-dead", "v1", fleet.nodes["dialled-v1"].address, 1, healthy=True),)
    apps = {node.id: App(node.address, node.id) for node in fleet.nodes.values() if node.service != "web"}
    with fleet.running():
        yield World(fleet, apps)
    for app in apps.values():
        app.stop()


@pytest.fixture
def world(running):
    for app in running.apps.values():
        app.reset()
    yield running
    running.tell()


def test_a_cookie_keeps_its_instance_and_is_set_where_it_is_missing(world):
    with world.client("cookies") as client:
        first = client.get("/")
        assert first.headers["set-cookie"].startswith("session=")
        assert "Max-Age=3600" in first.headers["set-cookie"]
        assert {client.get("/").text for _ in range(10)} == {first.text}
    fresh = {httpx.get(f"http://{world.fleet.outbound('web-v1-a', 'cookies')}/").text for _ in range(30)}
    assert fresh == {"cookies-v1", "cookies-v2"}


def test_a_source_address_keeps_its_instance(world):
    assert len(world.answers("sources", 10)) == 1


def test_the_local_zone_comes_first_and_another_when_it_fails(world):
    for zone in "ab":
        assert set(world.answers("near", 10, f"web-v1-{zone}")) == {f"near-v1-{zone}"}
    world.tell(unwell={"near-v1-a"})
    wait_for(lambda: set(world.answers("near", 5)) == {"near-v1-b"})
    world.tell()
    wait_for(lambda: set(world.answers("near", 5)) == {"near-v1-a"})


def test_zone_aware_keeps_requests_where_instances_suffice_and_shares_what_is_too_much(world):
    """1 in 10,000 leaves a zone that has enough. With no caller in b, each of the two instances gets half."""
    assert world.answers("fair", 200)["fair-v1-a"] >= 198
    world.tell(absent={"web-v1-b"})
    wait_for(lambda: world.answers("fair", 60)["fair-v1-b"] >= 15)
    assert 60 <= world.answers("fair", 200)["fair-v1-a"] <= 140


def test_a_new_instance_begins_with_a_small_share(world):
    """10 % of an equal share at first, growing for five seconds: the old one must be older than that."""
    world.tell(absent={"slow-v2"})
    wait_for(lambda: world.fleet.stat("web-v1-a", "server.uptime") > 5)
    wait_for(lambda: set(world.answers("slow", 5)) == {"slow-v1"})
    world.tell()
    wait_for(lambda: world.answers("slow", 40)["slow-v2"] > 0)
    assert world.answers("slow", 60)["slow-v2"] < 24


def test_below_the_panic_threshold_all_get_requests(world):
    world.tell(unwell={"panicky-v1"})
    assert set(world.answers("panicky", 20)) == {"panicky-v1", "panicky-v2"}
    world.tell(unwell={"fives-v1"})
    wait_for(lambda: set(world.answers("fives", 5)) == {"fives-v2"})


def test_another_service_answers_while_one_has_no_instance(world):
    assert set(world.answers("backed", 5)) == {"backed-v1"}
    world.tell(absent={"backed-v1"})
    wait_for(lambda: set(world.answers("backed", 5)) == {"spare-v1"})
    world.tell(unwell={"backed-v1"})
    wait_for(lambda: set(world.answers("backed", 5)) == {"spare-v1"})
    world.tell()
    wait_for(lambda: set(world.answers("backed", 5)) == {"backed-v1"})


@pytest.mark.parametrize("service", ["narrow", "waiting"])
def test_above_its_limits_a_service_is_asked_nothing_more(world, service):
    """One request at once; or one connection, and one request that waits for it: HTTP/2 carries many on one."""
    app = world.apps[f"{service}-v1"]
    app.gate.clear()
    with world.client(service) as client, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.get, "/") for _ in range(8)]
        wait_for(lambda: len(app.seen) + sum(a.done() for a in asked) == 8)
        app.gate.set()
        statuses = Counter(a.result().status_code for a in asked)
    assert statuses == ({200: 1, 503: 7} if service == "narrow" else statuses)
    assert statuses[200] >= 1


def test_a_budget_leaves_no_room_for_retries(world):
    app = world.apps["budget-v1"]
    app.reset(status=500)
    world.answers("budget", 3)
    assert len(app.seen) < 3 * 4


def test_an_instance_that_answers_5xx_is_left_out(world):
    """Three in a row are too many; Envoy gathers what changes within a second of another change."""
    world.apps["fives-v1"].reset(status=500)
    with world.client("fives") as client:
        assert [client.get("/").status_code for _ in range(6)].count(500) == 3
        wait_for(lambda: {client.get("/").status_code for _ in range(10)} == {200})


def test_one_that_fails_as_a_gateway_is_left_out_and_comes_back(world):
    app = world.apps["gateways-v1"]
    app.reset(status=500)
    assert world.answers("gateways", 20)["gateways-v1"] == 10, "500 is no gateway's failure"
    app.reset(status=503)
    with world.client("gateways") as client:
        wait_for(lambda: {client.get("/").status_code for _ in range(10)} == {200})
        app.reset()
        wait_for(lambda: {client.get("/").text for _ in range(4)} == {"gateways-v1", "gateways-v2"})


def test_the_one_with_the_most_failures_is_left_out(world):
    world.apps["worst-v2"].reset(status=500)
    with world.client("worst") as client:
        wait_for(lambda: {client.get("/").status_code for _ in range(10)} == {200})


def test_one_that_succeeds_less_than_the_others_is_left_out(world):
    world.apps["rated-v2"].reset(status=500)
    with world.client("rated") as client:
        assert 500 in {client.get("/").status_code for _ in range(10)}
        wait_for(lambda: {client.get("/").status_code for _ in range(10)} == {200})


def test_one_that_cannot_be_connected_to_is_left_out(world):
    """Nobody listens there; answers of the others, whatever they are, are another matter."""
    app = world.apps["dialled-v1"]
    app.reset(status=500)
    with world.client("dialled") as client:
        found = [client.get("/") for _ in range(12)]
        assert [answer.status_code for answer in found].count(503) == 3, "three in a row are too many"
        wait_for(lambda: {client.get("/").status_code for _ in range(10)} == {500})
        app.reset()
        assert {client.get("/").text for _ in range(4)} == {"dialled-v1"}


def client_hello() -> bytes:
    """Return how a TLS client begins."""
    context, said = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


def test_a_connection_carries_so_many_requests_and_an_instance_takes_so_many_connections(world):
    stat = "listener.inbound.ssl.handshake"
    before = world.fleet.stat("short-v1", stat)
    world.answers("short", 8)
    assert world.fleet.stat("short-v1", stat) - before >= 4
    wait_for(lambda: world.fleet.stat("short-v1", "http.inbound.downstream_cx_active") == 0)
    node, count = world.fleet.nodes["short-v1"], "connection_limit.inbound.limited_connections"
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(socket.create_connection((node.address, node.port)))
            connection.sendall(client_hello())  # whoever says nothing is let go of after a while, and not counted
        wait_for(lambda: world.fleet.stat("short-v1", count) == 2)
