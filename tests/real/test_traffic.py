"""What mesh.yaml says of traffic, seen through the Envoys of a running mesh."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from uuid import uuid4

import httpx
import pytest

from legation.sidecar.sockets import all_listening
from tests.support.echo import Echo, answers, app, asked, echo_in, free_port, hits, shares
from tests.support.mesh import PLAIN, Mesh, wait_for

pytestmark = pytest.mark.timeout(180)

ROUTES = """
    routes:
      - match: {path: /whole}
        split: {v2: 100}
      - match: {prefix: /begins/so}
        split: {v2: 100}
      - match: {path: /all-of-it, methods: [PUT], headers: {x-a: "1", x-b: "2"}}
        split: {v2: 100}
      - match: {prefix: /methods, methods: [DELETE, OPTIONS]}
        split: {v2: 100}
      - match: {headers: {x-case: v1}}
        split: {v1: 100}
      - match: {headers: {x-case: four-more}}
        retry: {retry_on: [5xx], num_retries: 4}
      - match: {headers: {x-case: other-failures}}
        retry: {retry_on: [gateway-error], num_retries: 4}
      - match: {headers: {x-case: pauses}}
        retry: {retry_on: [5xx], num_retries: 5, base_interval: 600ms, max_interval: 600ms}
      - match: {headers: {x-case: posts-too}}
        retry: {retry_on: [5xx], num_retries: 2, methods: [POST]}
      - match: {headers: {x-case: limited}}
        timeout: 500ms
        retry: {retry_on: [5xx], num_retries: 10}
      - match: {headers: {x-case: limited-tries}}
        timeout: 10s
        retry: {retry_on: [5xx], num_retries: 2, per_try_timeout: 300ms}
"""


@pytest.fixture(scope="module")
def echo_mesh(shop_mesh: Mesh) -> Iterator[Echo]:
    shop_mesh.settle()
    with echo_in(shop_mesh, ROUTES) as echo:
        yield echo


@pytest.fixture
def echo(echo_mesh: Echo) -> Echo:
    """The shop with echo, three instances of it, and all of `ROUTES`."""
    echo_mesh.apply(ROUTES)
    return echo_mesh


def outbound(shop: Mesh, instance: str, port: int = 15100) -> str:
    """The listener through which an instance's app calls the first service in its `calls`."""
    address, _, _ = shop.instance(instance).inbound.partition(":")
    return f"http://{address}:{port}"


def test_weights_split_90_10(shop: Mesh) -> None:
    """P(outside of 55 to 150 | n = 1000, p = 0.1) is 6e-7: more than 4.9 standard deviations of 9.5."""
    answered = asked(1000, f"{outbound(shop, 'web-v1-0')}/items")
    assert {a.status_code for a in answered} == {200}
    counts = Counter(a.headers["x-instance"] for a in answered)
    assert set(counts) == {"catalog-v1-0", "catalog-v2-0"}
    assert 55 <= counts["catalog-v2-0"] <= 150, counts


def test_header_match_goes_to_v2(shop: Mesh) -> None:
    """The exact value alone: another one goes the way of all others, where v1 answers 9 of 10."""
    url = f"{shop.gateway}/proxy/catalog/items"
    with_header = Counter(a.headers["x-catalog-instance"] for a in asked(50, url, x_canary="1"))
    assert with_header == {"catalog-v2-0": 50}
    for other in ("0", "11", ""):
        seen = {a.headers["x-catalog-instance"] for a in asked(20, url, x_canary=other)}
        assert "catalog-v1-0" in seen, other


MATCHES: tuple[tuple[str, str, dict[str, str], bool], ...] = (
    ("GET", "/whole", {}, True),
    ("GET", "/whole?and=a-query", {}, True),
    ("GET", "/whole/not", {}, False),
    ("GET", "/Whole", {}, False),
    ("POST", "/begins/so", {}, True),
    ("GET", "/begins/so/and/goes/on", {}, True),
    ("GET", "/begins", {}, False),
    ("GET", "/not/begins/so", {}, False),
    ("PUT", "/all-of-it", {"x_a": "1", "x_b": "2"}, True),
    ("GET", "/all-of-it", {"x_a": "1", "x_b": "2"}, False),
    ("PUT", "/all-of-it", {"x_a": "1"}, False),
    ("PUT", "/all-of-it", {"x_a": "1", "x_b": "3"}, False),
    ("PUT", "/other", {"x_a": "1", "x_b": "2"}, False),
    ("DELETE", "/methods", {}, True),
    ("OPTIONS", "/methods/x", {}, True),
    ("GET", "/methods", {}, False),
    ("DELETE", "/", {}, False),
)


def test_route_match_by_path_prefix_method(echo: Echo) -> None:
    """The first row that matches wins, which sends to v2; what matches none goes to a later row, to v1."""
    for method, path, headers, matches in MATCHES:
        answer = echo.request(method, path, x_case="v1", **headers)
        expected = "echo-v2" if matches else "echo-v1"
        assert answer.headers["x-instance"].startswith(expected), (method, path, headers)


def fresh(name: str) -> str:
    """A key for /fail and /slow that no test has used."""
    return f"{name}-{uuid4().hex}"


def test_failing_upstream_is_tried_num_retries_more_times(echo: Echo) -> None:
    """And not once more; and only for the failures that `retry_on` names."""
    for case, code, times in (
        ("four-more", 503, 5),
        ("four-more", 404, 1),
        ("other-failures", 503, 5),
        ("other-failures", 500, 1),
    ):
        key = fresh(case)
        assert echo.request("GET", f"/fail?code={code}&key={key}", x_case=case).status_code == code
        assert hits(echo.mesh, "echo", key) == times, (case, code)


def test_a_success_ends_the_tries(shop: Mesh) -> None:
    """Each instance of orders fails its first attempt, so that the third one succeeds at the latest."""
    key = fresh("once")
    assert shop.get(f"/proxy/orders/fail?code=500&times=1&key={key}").status_code == 200
    assert 2 <= hits(shop, "orders", key) <= 3


@pytest.mark.parametrize(
    "headers",
    [
        {"x_envoy_max_retries": "9"},
        {"x_envoy_retry_on": "5xx,retriable-status-codes", "x_envoy_retriable_status_codes": "503"},
        {"x_envoy_max_retries": "9", "x_envoy_retry_on": "5xx", "x_envoy_hedge_on_per_try_timeout": "true"},
    ],
)
def test_no_request_can_change_its_retries(echo: Echo, headers: dict[str, str]) -> None:
    """Neither from outside, nor an app's own through its sidecar."""
    asked_for, none, own = fresh("asked-for"), fresh("none"), fresh("own")
    echo.request("GET", f"/fail?code=503&key={asked_for}", x_case="four-more", **headers)
    assert hits(echo.mesh, "echo", asked_for) == 5
    echo.request("GET", f"/fail?code=503&key={none}", **headers)
    assert hits(echo.mesh, "echo", none) == 1
    url = f"{outbound(echo.mesh, 'web-v1-0')}/fail?code=503&key={own}"
    asked(1, url, workers=1, **headers)
    assert hits(echo.mesh, "catalog", own) == 1


def test_pauses_between_tries_are_as_long_as_asked(echo: Echo) -> None:
    """Five pauses, each anywhere from 0 to 600 ms: 1.5 s in the mean, whose deviation over 20 requests is 0.09 s.

    With the default first pause it would be 0.6 s, without a longest one more than 6 s.
    """

    def seconds(number: int) -> float:
        started = time.monotonic()
        assert echo.request("GET", f"/fail?code=503&key={fresh('pause')}", x_case="pauses").status_code == 503
        return time.monotonic() - started

    with ThreadPoolExecutor(20) as pool:
        took = list(pool.map(seconds, range(20)))
    assert 1.05 < sum(took) / len(took) < 4.5, took


def test_post_is_never_repeated_unless_asked(echo: Echo) -> None:
    """Where `methods` is not given, only what is idempotent is repeated after the app had it."""
    for case, method, times in (
        ("four-more", "PUT", 5),
        ("four-more", "POST", 1),
        ("four-more", "PATCH", 1),
        ("posts-too", "POST", 3),
        ("posts-too", "GET", 1),
    ):
        key = fresh(method)
        assert echo.request(method, f"/fail?code=500&key={key}", x_case=case).status_code == 500
        assert hits(echo.mesh, "echo", key) == times, (case, method)
    key = fresh("shop")
    assert echo.mesh.request("POST", f"/proxy/orders/fail?code=500&key={key}").status_code == 500
    assert hits(echo.mesh, "orders", key) == 1, "the shop's own route"


def test_route_timeout(echo: Echo) -> None:
    """`timeout` bounds the whole request, `per_try_timeout` each try."""
    started, key = time.monotonic(), fresh("whole")
    answer = echo.request("GET", f"/slow?ms=8000&key={key}", x_case="limited")
    assert answer.status_code == 504
    assert "echo did not answer in time" in answer.text
    assert 0.45 <= time.monotonic() - started < 5
    assert hits(echo.mesh, "echo", key) == 1

    started, key = time.monotonic(), fresh("tries")
    assert echo.request("GET", f"/slow?ms=8000&key={key}", x_case="limited-tries").status_code == 504
    assert 0.9 <= time.monotonic() - started < 6
    assert hits(echo.mesh, "echo", key) == 3
    assert echo.request("GET", f"/slow?ms=1&key={key}", x_case="limited").status_code == 200


def test_no_request_can_change_its_timeout(echo: Echo) -> None:
    short = {"x_envoy_upstream_rq_timeout_ms": "1", "x_envoy_expected_rq_timeout_ms": "1"}
    assert echo.request("GET", "/slow?ms=200&key=short", **short).status_code == 200
    long = {"x_envoy_upstream_rq_timeout_ms": "20000", "x_envoy_upstream_rq_per_try_timeout_ms": "20000"}
    assert echo.request("GET", "/slow?ms=8000&key=long", x_case="limited", **long).status_code == 504


def test_load_balancing_policies(echo: Echo) -> None:
    """Seen at the three instances of echo, one of which is slow for least_request."""
    everybody = {"echo-v1-0", "echo-v1-1", "echo-v2-0"}
    echo.apply("    load_balancing: {policy: round_robin}\n")
    seen = echo.answered(60)
    assert Counter(seen) == dict.fromkeys(everybody, 20)

    echo.apply("    load_balancing: {policy: random}\n")
    seen = echo.answered(300)
    assert set(seen) == everybody
    assert min(shares(seen).values()) > 0.18, "less than 1e-7 of all times"
    assert any(a == b for a, b in pairwise(seen)), "round robin never does this"

    echo.apply("    load_balancing: {policy: least_request}\n")
    app(echo.mesh, "echo-v2-0", "POST", "/become?delay=400")
    seen = [a.headers["x-instance"] for a in asked(200, echo.url, workers=8)]
    app(echo.mesh, "echo-v2-0", "POST", "/become")
    assert set(seen) == everybody
    assert shares(seen)["echo-v2-0"] < 0.2, f"others have it at 0.33: {shares(seen)}"

    for policy in ("ring_hash", "maglev"):
        echo.apply(f"    load_balancing: {{policy: {policy}, hash_header: x-user}}\n")
        by_user = {user: set(echo.answered(5, x_user=f"user-{user}")) for user in range(30)}
        assert all(len(instances) == 1 for instances in by_user.values()), f"{policy}: a user stays where it is"
        assert set().union(*by_user.values()) == everybody, f"{policy}: users are spread"


def test_health_check_takes_an_instance_out(echo: Echo, shop: Mesh) -> None:
    """It runs, and would answer; its sidecar has found it ill, so nobody asks it."""
    app(shop, "echo-v1-0", "POST", "/become?status=503")
    wait_for("the instance is known to be ill", lambda: not shop.instance("echo-v1-0").healthy, 20)
    wait_for("requests go to the others alone", lambda: "echo-v1-0" not in set(echo.answered(10)), 10)
    assert set(echo.answered(60)) == {"echo-v1-1", "echo-v2-0"}
    app(shop, "echo-v1-0", "POST", "/become?status=200")
    wait_for("the instance is well again", lambda: shop.instance("echo-v1-0").healthy, 20)
    wait_for("it gets requests again", lambda: "echo-v1-0" in set(echo.answered(10)), 10)


def test_gateway_listens_where_exposed(echo: Echo) -> None:
    """On loopback, or on the address that is named; it follows a change while it runs, and leaves nothing open."""
    assert {s.address for s in all_listening() if s.port == echo.port} == {"127.0.0.1"}
    port = free_port("127.0.0.2")
    elsewhere = echo.text(ROUTES).replace(
        f"expose: {{port: {echo.port}}}", f"expose: {{port: {port}, address: 127.0.0.2}}"
    )
    with echo.mesh.edited(lambda _: elsewhere):
        wait_for("the new address answers", lambda: answers(f"http://127.0.0.2:{port}/"), 10)
        assert {s.address for s in all_listening() if s.port == port} == {"127.0.0.2"}
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, verify=PLAIN)
        wait_for("the old address is closed", lambda: not listens(echo.port), 20)
    wait_for("the first address answers again", lambda: answers(echo.url), 10)
    wait_for("the other address is closed", lambda: not listens(port), 20)


def listens(port: int) -> bool:
    return any(s.port == port for s in all_listening())


def test_workload_env_reaches_the_app(echo: Echo) -> None:
    """Its own variables, beside those by which every app knows where to listen and whom to call."""
    mine = "  - {service: echo, command: [node, echo.js], env: {GREETING: 'hello, you', EMPTY: ''}}\n"
    echo.apply("    calls: [catalog]\n", mine)
    wait_for("the app is the new one", lambda: environment(echo).get("GREETING") == "hello, you", 30)
    seen = environment(echo)
    assert seen["EMPTY"] == ""
    instance = echo.mesh.first("echo")
    address, _, _ = instance.inbound.partition(":")
    assert (seen["HOST"], seen["INSTANCE"], seen["VERSION"]) == ("127.0.0.1", instance.id, "v1")
    assert (seen["CATALOG_URL"], seen["CATALOG_HOST"]) == (f"http://{address}:{seen['CATALOG_PORT']}", address)
    assert httpx.get(f"{seen['CATALOG_URL']}/items", trust_env=False, verify=PLAIN).status_code == 200
    assert "ORDERS_URL" not in seen, "a service that it does not call"


def environment(echo: Echo) -> dict[str, str]:
    answer = echo.request("GET", "/environment")
    return dict(answer.json()["environment"]) if answer.status_code == 200 else {}
