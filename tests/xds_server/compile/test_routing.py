"""Rows of `routes` through stock Envoys: matches, rewrites, redirects, answers, headers, mirrors, faults, limits."""

import json
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from tests.xds_server.compile.fleet import App, Fleet, wait_for

MESH = """
mesh: routing
trust_domain: routing.local
logging: {mode: client_and_server}
services:
  web: {protocol: http, port: 8080, calls: [items, late, limited, brisk, backed]}
  items:
    protocol: http
    port: 8080
    routes:
      - match: {template: "/users/{id}/orders/*"}
        rewrite: {template: "/o/{id}"}
      - match: {regex: "/v[0-9]+/.*"}
        rewrite: {regex: {pattern: "^/v([0-9]+)/", substitution: '/version-\\1/'}}
      - match: {prefix: /old/}
        rewrite: {prefix: /new/, host: other.example.com}
      - match: {path: /whole}
        rewrite: {path: /all}
      - match: {grpc: {service: items.Items, method: Get}}
        respond: {status: 200, body: one method}
      - match: {grpc: {service: items.Items}}
        respond: {status: 200, body: one service}
      - match: {path: /q, query: {kind: {prefix: ab}, debug: {present: true}}}
        respond: {status: 201, body: query}
      - match: {path: /h, headers: {x-a: {regex: "[0-9]+"}, x-b: {present: false}, x-c: {contains: mid}}}
        respond: {status: 202, body: headers}
      - match: {path: /more, headers: {x-a: one, x-b: {prefix: ab}, x-c: {suffix: yz}}}
        respond: {status: 203, body: more headers}
      - match: {path: /more, query: {a: one, b: {suffix: yz}, c: {contains: mid}, d: {regex: "[0-9]+"}}}
        respond: {status: 206, body: more of the query}
      - match: {path: /gone, methods: [GET]}
        respond: {status: 410}
      - match: {path: /move}
        redirect: {scheme: https, host: new.example.com, port: 8443, path: /moved, status: 308}
      - match: {prefix: /shift/}
        redirect: {prefix: /to/, strip_query: true, status: 302}
      - match: {path: /headers}
        request_headers: {set: {x-set: "50%"}, add: {x-many: more}, remove: [x-secret]}
        response_headers: {set: {x-answer: "1"}, add: {x-more: here}, remove: [x-inner]}
      - match: {path: /mirror}
        split: {v1: 100}
        mirror: {version: v2}
      - match: {path: /sometimes}
        split: {v1: 100}
        mirror: {version: v2, percent: 50}
      - match: {path: /delay}
        fault: {delay: {duration: 300ms}}
      - match: {path: /often}
        fault: {delay: {duration: 10ms, percent: 50}}
      - match: {path: /abort}
        fault: {abort: {status: 418}, headers: {x-chaos: "1"}}
      - match: {grpc: {service: chaos.Chaos}}
        fault: {abort: {grpc_status: 9}}
      - match: {path: /half}
        fault: {abort: {status: 503, percent: 50}}
      - match: {path: /idle}
        idle_timeout: 300ms
      - match: {path: /codes}
        split: {v1: 100}
        retry: {retry_on: [retriable-status-codes], retriable_status_codes: [409], num_retries: 2, base_interval: 1ms}
      - match: {path: /same}
        retry: {retry_on: [5xx], num_retries: 1, retry_host_predicate: any, base_interval: 1ms}
      - match: {path: /silent}
        split: {v1: 100}
        retry: {retry_on: [5xx], num_retries: 1, per_try_idle_timeout: 200ms, base_interval: 1ms}
  late:
    protocol: http
    port: 8080
    routes:
      - retry: {retry_on: [5xx], num_retries: 1, per_try_timeout: 300ms, hedge_on_per_try_timeout: true}
        timeout: 10s
  backed:
    protocol: http
    port: 8080
    failover: spare
    connections: {max_duration: 300ms}
    routes: [{retry: {retry_on: [5xx], num_retries: 1, retry_priority: previous_priorities, base_interval: 1ms}}]
  spare: {protocol: http, port: 8080}
  limited: {protocol: http, port: 8080, rate_limit: {local: {requests: 3, per: 1h, burst: 5}}}
  brisk: {protocol: http, port: 8080, rate_limit: {local: {requests: 1, per: 1s}}}
"""


class World:
    def __init__(self, fleet: Fleet, apps: dict[str, App]) -> None:
        self.fleet, self.apps = fleet, apps

    def ask(self, path: str, method: str = "GET", callee: str = "items", **more) -> httpx.Response:
        return httpx.request(method, f"http://{self.fleet.outbound('web-v1', callee)}{path}", timeout=10, **more)

    def seen(self, *names: str) -> list[tuple[str, str, dict[str, str]]]:
        return [request for name in names or self.apps for request in self.apps[name].seen]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    nodes = [fleet.add("web"), *(fleet.add(s, v) for s in ("items", "late") for v in ("v1", "v2"))]
    nodes += [*(fleet.add(s) for s in ("limited", "brisk", "backed", "spare"))]
    apps = {n.id: App(n.address, n.id) for n in nodes if n.service != "web"}
    with fleet.running():
        yield World(fleet, apps)
    for app in apps.values():
        app.stop()


@pytest.fixture
def world(running):
    for app in running.apps.values():
        app.reset()
    return running


@pytest.mark.parametrize(
    ("path", "arrives"),
    [("/users/7/orders/9?q=1", "/o/7?q=1"), ("/v12/a/b", "/version-12/a/b"), ("/old/a?b=c", "/new/a?b=c"),
     ("/whole?a=b", "/all?a=b"), ("/users/7", "/users/7"), ("/v/a", "/v/a")],
)  # fmt: skip
def test_the_path_that_the_app_sees(world, path, arrives):
    assert world.ask(path).status_code == 200
    assert [path for _, path, _ in world.seen()] == [arrives]


def test_the_host_that_the_app_sees(world):
    world.ask("/old/a")
    world.ask("/whole")
    hosts = [headers["host"] for *_, headers in world.seen()]
    assert sorted(hosts) == sorted(["other.example.com", world.fleet.outbound("web-v1", "items")])


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "text"),
    [
        ("POST", "/items.Items/Get", {}, 200, "one method"),
        ("POST", "/items.Items/Put", {}, 200, "one service"),
        ("GET", "/q?kind=abc&debug", {}, 201, "query"),
        ("GET", "/q?kind=b&debug", {}, 200, None),
        ("GET", "/q?kind=abc", {}, 200, None),
        ("GET", "/h", {"x-a": "12", "x-c": "amidb"}, 202, "headers"),
        ("GET", "/h", {"x-a": "1b", "x-c": "amidb"}, 200, None),
        ("GET", "/h", {"x-a": "12", "x-c": "amidb", "x-b": ""}, 200, None),
        ("GET", "/h", {"x-a": "12"}, 200, None),
        ("GET", "/more", {"x-a": "one", "x-b": "abc", "x-c": "xyz"}, 203, "more headers"),
        ("GET", "/more", {"x-a": "one!", "x-b": "abc", "x-c": "xyz"}, 200, None),
        ("GET", "/more", {"x-a": "one", "x-b": "bab", "x-c": "xyz"}, 200, None),
        ("GET", "/more", {"x-a": "one", "x-b": "abc", "x-c": "yzx"}, 200, None),
        ("GET", "/more?d=12&b=xyz&c=amidb&a=one", {}, 206, "more of the query"),
        ("GET", "/more?d=12&b=xyz&c=amidb&a=one1", {}, 200, None),
        ("GET", "/more?d=12&b=yzx&c=amidb&a=one", {}, 200, None),
        ("GET", "/more?d=1x&b=xyz&c=amidb&a=one", {}, 200, None),
        ("GET", "/more?d=12&b=xyz&c=mad&a=one", {}, 200, None),
        ("GET", "/gone", {}, 410, ""),
        ("POST", "/gone", {}, 200, None),
    ],
)
def test_matches_and_answers_of_the_proxy_itself(world, method, path, headers, status, text):
    answer = world.ask(path, method, headers=headers)
    assert answer.status_code == status
    assert bool(world.seen()) == (text is None)
    assert text is None or answer.text == text


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [("/move?a=b", 308, "https://new.example.com:8443/moved?a=b"), ("/shift/x?a=b", 302, "http://{host}/to/x")],
)
def test_redirects(world, path, status, location):
    answer = world.ask(path)
    host = world.fleet.outbound("web-v1", "items")
    assert (answer.status_code, answer.headers["location"]) == (status, location.format(host=host))


def test_headers_of_requests_and_answers(world):
    for name in ("items-v1", "items-v2"):
        world.apps[name].reset(headers={"x-inner": "1", "x-answer": "no", "x-more": "there"})
    answer = world.ask("/headers", headers={"x-secret": "s", "x-set": "no", "x-many": "one"})
    ((_, _, seen),) = world.seen()
    assert (seen["x-set"], seen["x-many"], "x-secret" in seen) == ("50%", "one,more", False)
    assert (answer.headers["x-answer"], "x-inner" in answer.headers) == ("1", False)
    assert answer.headers["x-more"] == "there, here"


def test_a_mirror_gets_a_copy_and_its_answer_is_dropped(world):
    world.apps["items-v2"].reset(status=500)
    assert {world.ask("/mirror").status_code for _ in range(5)} == {200}
    wait_for(lambda: len(world.seen("items-v2")) == 5)
    assert len(world.seen("items-v1")) == 5
    for _ in range(40):
        world.ask("/sometimes")
    wait_for(lambda: len(world.seen("items-v1")) >= 45)
    assert 8 <= len([path for _, path, _ in world.seen("items-v2") if path == "/sometimes"]) <= 32


def test_a_delay_delays(world):
    begin = time.monotonic()
    assert world.ask("/delay").status_code == 200
    assert time.monotonic() - begin >= 0.3
    for _ in range(40):
        world.ask("/often")
    flags = [line["flags"] for line in logged(world.fleet.log, "web-v1", "/often", 40)]
    assert 8 <= flags.count("DI") <= 32


def logged(log: Callable[[str], str], name: str, path: str, count: int) -> list[dict[str, str]]:
    """Return what a proxy's access log says of requests for a path, once there are so many."""

    def found() -> list[dict[str, str]]:
        return [line for text in log(name).splitlines() if f'"{path}"' in text for line in [json.loads(text)]]

    wait_for(lambda: len(found()) == count)
    return found()


def test_an_abort_by_header_and_by_share(world):
    assert world.ask("/abort").status_code == 200
    assert world.ask("/abort", headers={"x-chaos": "1"}).status_code == 418
    statuses = Counter(world.ask("/half").status_code for _ in range(60))
    assert 10 <= statuses[503] <= 50
    called = world.ask("/chaos.Chaos/Break", "POST", headers={"content-type": "application/grpc"})
    assert (called.status_code, called.headers["grpc-status"]) == (200, "9")


def test_a_silent_request_ends_at_its_idle_timeout(world):
    apps = [world.apps[name] for name in ("items-v1", "items-v2")]
    for app in apps:
        app.gate.clear()
    try:
        assert world.ask("/idle").status_code == 504
    finally:
        for app in apps:
            app.gate.set()


def test_statuses_that_the_operator_names_are_tried_again(world):
    world.apps["items-v1"].reset(status=409)
    assert world.ask("/codes").status_code == 409
    assert len(world.seen("items-v1")) == 3
    world.ask("/codes", "POST")
    assert len(world.seen("items-v1")) == 4


def test_a_silent_try_is_given_up(world):
    app = world.apps["items-v1"]
    app.gate.clear()
    try:
        world.ask("/silent")
    finally:
        app.gate.set()
    assert len(world.seen("items-v1")) == 2


def test_another_try_may_go_to_the_same_instance_where_it_is_said(world):
    for name in ("items-v1", "items-v2"):
        world.apps[name].reset(status=500)
    world.ask("/same")
    assert len(world.seen()) == 2


def test_a_try_may_go_to_the_service_that_stands_in(world):
    world.apps["backed-v1"].reset(status=500)
    assert world.ask("/", callee="backed").text == "spare-v1"


def test_a_connection_has_an_end_though_it_is_in_use(world):
    stat = "listener.inbound.ssl.handshake"
    world.ask("/", callee="backed")
    before = world.fleet.stat("backed-v1", stat)
    assert before > 0

    def is_replaced() -> bool:
        return world.ask("/", callee="backed").status_code == 200 and world.fleet.stat("backed-v1", stat) > before

    wait_for(is_replaced)


def test_a_late_try_is_overtaken_by_another(world):
    """Two requests are answered by the instance that does, though one at least asked the other first."""
    slow = world.apps["late-v1"]
    slow.gate.clear()
    try:
        assert [world.ask("/", callee="late").text for _ in range(2)] == ["late-v2"] * 2
        assert slow.seen != []
    finally:
        slow.gate.set()


def test_a_post_is_never_hedged(world):
    """It has the whole time of its route for its one try."""
    for name in ("late-v1", "late-v2"):
        world.apps[name].gate.clear()
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"http://{world.fleet.outbound('web-v1', 'late')}/", timeout=1)
    finally:
        for name in ("late-v1", "late-v2"):
            world.apps[name].gate.set()
    assert len(world.seen("late-v1", "late-v2")) == 1


def test_above_its_rate_an_instance_answers_429(world):
    answers = [world.ask("/", callee="limited") for _ in range(8)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 3
    assert answers[-1].headers["x-ratelimit-limit"] == "5"
    assert [a.headers["x-ratelimit-remaining"] for a in answers] == ["4", "3", "2", "1", *["0"] * 4]
    assert 1_000 < int(answers[-1].headers["x-ratelimit-reset"]) <= 1_200
    assert len(world.seen("limited-v1")) == 5


def test_where_a_request_fits_in_every_second_refusals_alone_say_when_to_come_back(world):
    answers = {}

    def has_both() -> bool:
        answer = world.ask("/", callee="brisk")
        answers[answer.status_code] = {n: v for n, v in answer.headers.items() if n.startswith("x-ratelimit-")}
        return len(answers) == 2

    wait_for(has_both)
    wanted = {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}
    assert answers == {200: {}, 429: wanted}
