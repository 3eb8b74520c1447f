"""Requests through stock Envoys that run what compile wrote: mTLS, access control, routes, retries, headers."""

import json
import re
import socket
import ssl
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from legation.mesh import names
from tests.xds_server.compile.authority import Authority
from tests.xds_server.compile.fleet import App, Fleet, address, wait_for
from xds_server.compile.retry import APP_UNREACHABLE, RETRY_HEADER
from xds_server.compile.unavailable import HEADER, Outage
from xds_server.endpoint import Endpoint

GATEWAY_SLOT = 100
MESH = f"""
mesh: traffic
trust_domain: traffic.local
logging: {{mode: client_and_server}}
services:
  web:
    protocol: http
    port: 8080
    calls:
      - orders
      - lonely
      - gone
      - fails
      - service: ledger
        allow: [{{methods: [POST], paths: [/entries/*]}}, {{paths: [/health]}}]
    expose: {{port: 18080, address: {address(GATEWAY_SLOT)}}}
  stranger: {{protocol: http, port: 8080}}
  orders:
    protocol: http
    port: 8080
    routes:
      - match: {{headers: {{x-canary: "1"}}}}
        split: {{v2: 100}}
        retry: {{retry_on: [5xx], num_retries: 3, base_interval: 10ms, max_interval: 20ms}}
      - match: {{path: /once}}
        split: {{v2: 100}}
        retry: {{num_retries: 0}}
      - match: {{path: /twice}}
        split: {{v2: 100}}
        retry: {{retry_on: [5xx], num_retries: 1, methods: [POST], base_interval: 10ms}}
      - match: {{path: /patient}}
        split: {{v2: 100}}
      - split: {{v1: 90, v2: 10}}
  lonely: {{protocol: http, port: 8080}}
  ledger: {{protocol: http, port: 8080}}
  gone:
    protocol: http
    port: 8080
    expose: {{port: 18082, address: {address(GATEWAY_SLOT)}}}
    routes: [{{timeout: 2s}}]
  fails: {{protocol: http, port: 8080, routes: [{{retry: {{num_retries: 0}}}}]}}
  empty: {{protocol: http, port: 8080, expose: {{port: 18081, address: {address(GATEWAY_SLOT)}}}}}
workloads:
  - {{service: orders, version: v1, command: [node]}}
  - {{service: orders, version: v2, command: [node]}}
"""
CANARY = {"x-canary": "1"}


class World:
    """The fleet and its apps, and the ways into it."""

    def __init__(self, fleet: Fleet, apps: dict[str, App]) -> None:
        self.fleet, self.apps = fleet, apps

    def gateway(self, path: str, **more) -> httpx.Response:
        return httpx.get(f"http://{address(GATEWAY_SLOT)}:18080{path}", timeout=10, **more)

    def as_web(self, callee: str, method: str, path: str, **more) -> httpx.Response:
        """Make a request as web's app does: through its own sidecar."""
        return httpx.request(method, f"http://{self.fleet.outbound('web-v1', callee)}{path}", timeout=10, **more)

    def with_certificate(self, authority: Authority, service: str, target: str, method: str, path: str):
        """Make a request straight to an inbound port, with a certificate of a service."""
        folder = authority.issue(f"spiffe://traffic.local/{service}", self.fleet.folder / "clients" / service)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        inbound = self.fleet.nodes[target]
        with httpx.Client(verify=context, timeout=10) as client:
            return client.request(method, f"https://{inbound.address}:{inbound.port}{path}")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    nodes = [fleet.add("web"), fleet.add("orders", "v1"), fleet.add("orders", "v2"), fleet.add("ledger"),
             fleet.add("lonely"), fleet.add(names.GATEWAY)]  # fmt: skip
    dead = (Endpoint("lonely-dead", "v1", address(101), names.INBOUND_PORT),)
    fleet.extra = {"lonely": dead, "gone": dead, "fails": dead}
    fleet.outages = {name: Outage(1767225600.0) for name in ("empty", "gone", "fails", "lonely")}
    apps = {node.id: App(node.address, node.id) for node in nodes if node.service != names.GATEWAY}
    with fleet.running():
        yield World(fleet, apps)
    for app in apps.values():
        app.stop()


@pytest.fixture
def world(running):
    for app in running.apps.values():
        app.reset()
    return running


def test_a_request_through_the_gateway_reaches_the_app_over_mtls(world):
    answer = world.gateway("/hello")
    (seen,) = world.apps["web-v1"].seen
    assert (answer.status_code, answer.text) == (200, "web-v1")
    assert (seen[0], seen[1]) == ("GET", "/hello")
    assert seen[2]["x-forwarded-client-cert"].endswith("URI=spiffe://traffic.local/legation/gateway")


def test_the_gateway_hides_what_the_app_is_built_with(world):
    answer = world.gateway("/")
    assert answer.headers["server"] == "legation"
    assert not [h for h in answer.headers if h.startswith(("x-envoy", "x-legation"))]


def test_nobody_can_forge_headers_that_only_proxies_may_set(world):
    forged = {"x-envoy-anything": "1", "x-legation-anything": "1", "x-forwarded-client-cert": "URI=spiffe://a/b"}
    world.gateway("/", headers=forged)
    world.as_web("lonely", "GET", "/", headers=forged)
    for app, peer in (("web-v1", "legation/gateway"), ("lonely-v1", "web")):
        ((_, _, headers),) = world.apps[app].seen
        assert not [h for h in headers if h.endswith("-anything")]
        assert headers["x-forwarded-client-cert"].endswith(f"URI=spiffe://traffic.local/{peer}")


def test_the_gateway_says_in_words_that_nothing_is_there(world):
    answer = httpx.get(f"http://{address(GATEWAY_SLOT)}:18081/", headers={"x-request-id": "forged"})
    said = re.fullmatch(
        r"503: empty has no instance that takes requests now \(request ([-0-9a-f]{36})\)\n", answer.text
    )
    assert answer.status_code == 503
    assert said, answer.text


def test_the_gateway_says_so_too_of_what_has_waited_in_vain(world):
    answer = httpx.get(f"http://{address(GATEWAY_SLOT)}:18082/", timeout=10)
    assert answer.status_code == 504
    assert answer.headers[HEADER] == 'service=gone; reason="no ready instance"; since=2026-01-01T00:00:00Z'
    assert answer.text.startswith("504: gone did not answer in time (request ")


@pytest.mark.parametrize(("service", "status", "flag"), [("fails", 503, "UF"), ("gone", 504, "UT")])
def test_a_request_that_cannot_wait_any_longer_is_told_which_service_why_and_since_when(world, service, status, flag):
    """Refused with retries off; waited as long as its route's timeout, 2 s, with them."""
    answer = world.as_web(service, "GET", f"/{service}")
    why = f'service={service}; reason="no ready instance"; since=2026-01-01T00:00:00Z'
    assert (answer.status_code, answer.headers[HEADER]) == (status, why)
    wait_for(lambda: f"/{service}" in world.fleet.log("web-v1"))
    logged = next(line for line in world.fleet.log("web-v1").splitlines() if f'"/{service}"' in line)
    assert (json.loads(logged)["unavailable"], json.loads(logged)["flags"]) == (why, flag)


def test_a_request_whose_body_comes_between_two_tries_has_an_end_too(world):
    """Envoy starts no timeout for it: the number of tries is the bound."""
    host, _, port = world.fleet.outbound("web-v1", "gone").rpartition(":")
    before = world.fleet.stat("web-v1", "cluster.gone.upstream_rq_retry")
    with socket.create_connection((host, int(port)), 20) as raw:
        raw.sendall(b"POST /late HTTP/1.1\r\nhost: gone\r\ncontent-length: 1\r\n\r\n")
        wait_for(lambda: world.fleet.stat("web-v1", "cluster.gone.upstream_rq_retry") >= before + 4)
        raw.sendall(b"x")
        head = raw.recv(4096).decode()
    assert head.split()[1] in {"503", "504"}
    assert f"{HEADER}: service=gone" in head


def test_a_gateway_says_the_same(world):
    answer = httpx.get(f"http://{address(GATEWAY_SLOT)}:18081/")
    assert answer.headers[HEADER] == 'service=empty; reason="no ready instance"; since=2026-01-01T00:00:00Z'


def test_an_answer_that_came_says_nothing_of_an_outage(world):
    """A service may have one; this request was served all the same. And no app may say so itself."""
    world.apps["lonely-v1"].reset(headers={HEADER: "service=lonely"})
    answer = world.as_web("lonely", "GET", "/")
    assert (answer.status_code, HEADER in answer.headers) == (200, False)


def test_a_caller_that_calls_names_is_let_in(world):
    answer = world.with_certificate(world.fleet.authority, "web", "lonely-v1", "GET", "/")
    assert answer.status_code == 200


def test_a_caller_that_calls_does_not_name_gets_403(world):
    answer = world.with_certificate(world.fleet.authority, "stranger", "lonely-v1", "GET", "/")
    assert (answer.status_code, world.apps["lonely-v1"].seen) == (403, [])


def test_the_gateway_itself_may_only_call_what_is_exposed(world):
    answer = world.with_certificate(world.fleet.authority, "legation/gateway", "lonely-v1", "GET", "/")
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/entries/1", 200),
        ("POST", "/entries/1?q=2", 200),
        ("GET", "/entries/1", 403),
        ("POST", "/entries", 403),
        ("POST", "/entries/../secret", 403),
        ("POST", "/entries/..%2Fsecret", 400),
        ("GET", "/health", 200),
        ("GET", "/healthy", 403),
    ],
)
def test_allow_limits_methods_and_paths(world, method, path, status):
    folder = world.fleet.outbound("web-v1", "ledger")
    request = httpx.Request(method, f"http://{folder}/", extensions={"target": path.encode()})
    with httpx.Client() as client:
        assert client.send(request).status_code == status


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(world):
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        world.with_certificate(Authority("mesh"), "web", "lonely-v1", "GET", "/")


def test_plain_http_to_an_inbound_port_is_refused(world):
    inbound = world.fleet.nodes["lonely-v1"]
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.get(f"http://{inbound.address}:{inbound.port}/")
    assert world.apps["lonely-v1"].seen == []


def test_a_header_match_goes_to_its_version(world):
    answers = [world.as_web("orders", "GET", "/", headers=CANARY).text for _ in range(20)]
    assert answers == ["orders-v2"] * 20


def test_weights_hold_within_statistics(world):
    """600 requests at 10 %: 60 ± 7.3; five deviations are never left by chance."""
    with httpx.Client(base_url=f"http://{world.fleet.outbound('web-v1', 'orders')}") as client:
        answers = Counter(client.get("/").text for _ in range(600))
    assert 24 <= answers["orders-v2"] <= 96
    assert answers["orders-v1"] + answers["orders-v2"] == 600


def test_a_failing_upstream_is_tried_num_retries_more_times_and_not_once_more(world):
    world.apps["orders-v2"].reset(status=500)
    answer = world.as_web("orders", "GET", "/", headers=CANARY)
    assert (answer.status_code, len(world.apps["orders-v2"].seen)) == (500, 4)


def test_a_post_is_not_repeated_after_the_app_had_it(world):
    world.apps["orders-v2"].reset(status=500)
    answer = world.as_web("orders", "POST", "/", headers=CANARY)
    assert (answer.status_code, len(world.apps["orders-v2"].seen)) == (500, 1)


def test_a_post_is_repeated_where_the_operator_asks(world):
    world.apps["orders-v2"].reset(status=500)
    world.as_web("orders", "POST", "/twice")
    posts = len(world.apps["orders-v2"].seen)
    world.as_web("orders", "GET", "/twice")
    assert (posts, len(world.apps["orders-v2"].seen)) == (2, 3)


def test_an_app_cannot_change_retries_by_headers(world):
    world.apps["orders-v2"].reset(status=500)
    asked = {"x-envoy-max-retries": "9", "x-envoy-retry-on": "5xx", "x-envoy-upstream-rq-timeout-ms": "1"}
    answer = world.as_web("orders", "POST", "/", headers=CANARY | asked)
    assert (answer.status_code, len(world.apps["orders-v2"].seen)) == (500, 1)


def test_envoy_believes_no_app_that_says_it_is_overloaded(world):
    """It did once. So nobody need take that header out of every answer."""
    world.apps["orders-v2"].reset(status=500, headers={"x-envoy-overloaded": "true"})
    world.as_web("orders", "POST", "/twice")
    assert len(world.apps["orders-v2"].seen) == 2


def test_an_app_cannot_pretend_that_a_request_never_reached_it(world):
    world.apps["orders-v2"].reset(status=500, headers={RETRY_HEADER: APP_UNREACHABLE})
    answer = world.as_web("orders", "POST", "/", headers=CANARY)
    assert (answer.status_code, len(world.apps["orders-v2"].seen)) == (500, 1)
    assert RETRY_HEADER not in answer.headers


def test_posts_wait_for_an_app_that_comes_back(world):
    """Twenty at once, above the three concurrent retries that Envoy allows when nobody says otherwise."""
    app, stat = world.apps["orders-v2"], "cluster._local_app.upstream_cx_connect_fail"
    app.stop()
    before = world.fleet.stat("orders-v2", stat)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(world.as_web, "orders", "POST", "/patient", content=b"x" * 1000) for _ in range(20)]
        wait_for(lambda: world.fleet.stat("orders-v2", stat) >= before + 20)
        app.start()
        assert [answer.result().status_code for answer in answers] == [200] * 20
    assert [method for method, *_ in app.seen] == ["POST"] * 20


def test_num_retries_0_turns_even_that_off(world):
    app, stat = world.apps["orders-v2"], "cluster._local_app.upstream_cx_connect_fail"
    app.stop()
    try:
        before = world.fleet.stat("orders-v2", stat)
        answer = world.as_web("orders", "GET", "/once")
        tries = world.fleet.stat("orders-v2", stat) - before
    finally:
        app.start()
    assert (answer.status_code, tries) == (503, 1)
    assert RETRY_HEADER not in answer.headers


def test_a_dead_instance_is_passed_over_for_every_method(world):
    answers = [world.as_web("lonely", "POST", "/").status_code for _ in range(20)]
    assert answers == [200] * 20
    assert len(world.apps["lonely-v1"].seen) == 20


def test_the_access_log_names_both_ends(world):
    world.as_web("lonely", "GET", "/logged?x=1")
    wait_for(lambda: "/logged" in world.fleet.log("lonely-v1") and "/logged" in world.fleet.log("web-v1"))
    inbound, outbound = (
        next(json.loads(line) for line in world.fleet.log(name).splitlines() if "/logged" in line)
        for name in ("lonely-v1", "web-v1")
    )
    assert (inbound["service"], inbound["direction"], inbound["status"]) == ("lonely", "inbound", 200)
    assert inbound["peer"] == "spiffe://traffic.local/web"
    assert (outbound["route"], outbound["upstream_instance"]) == ("lonely.default", "lonely-v1")
    assert [(log["instance"], log["version"]) for log in (inbound, outbound)] == [("lonely-v1", "v1"), ("web-v1", "v1")]
    assert inbound["request_id"] == outbound["request_id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/stats/prometheus", 200), ("GET", "/ready", 200), ("GET", "/", 404), ("GET", "/stats", 404),
     ("POST", "/quitquitquit", 404), ("POST", "/ready", 404), ("GET", "/stats/prometheus/../../certs", 404)],
)  # fmt: skip
def test_the_metrics_listener_serves_two_paths(world, method, path, status):
    url = f"http://{world.fleet.nodes['web-v1'].address}:{names.METRICS_PORT}/"
    with httpx.Client() as client:
        answer = client.send(httpx.Request(method, url, extensions={"target": path.encode()}))
    assert answer.status_code == status


def test_metrics_have_stable_names(world):
    world.as_web("orders", "GET", "/")
    text = httpx.get(f"http://{world.fleet.nodes['web-v1'].address}:{names.METRICS_PORT}/stats/prometheus").text
    assert (
        'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="outbound_orders"}'
        in text
    )
    assert 'envoy_cluster_name="orders_v1"' in text
    assert 'envoy_listener_address="inbound"' in text
    assert 'le="300"' in text
