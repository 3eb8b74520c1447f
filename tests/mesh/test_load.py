"""Loading as a whole: the good file, many violations at once, and nothing but InvalidMesh whatever the text."""

import re
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legation.mesh.checks import check
from legation.mesh.errors import InvalidMesh, Position
from legation.mesh.load import load

GOOD = """\
mesh: shop
trust_domain: shop.local
services:
  web:      {protocol: http, port: 8080, calls: [catalog, orders], expose: {port: 8080}}
  catalog:  {protocol: http, port: 8080, health_check: {path: /healthz}}
  orders:
    protocol: http
    port: 8080
    calls: [catalog, {service: payments, allow: [{methods: [POST], paths: [/payments.Payments/Charge]}]}]
    routes:
      - match: {headers: {x-canary: "1"}}
        split: {v2: 100}
      - split: {v1: 90, v2: 10}
        timeout: 1s
        retry: {retry_on: [5xx, reset], num_retries: 3, per_try_timeout: 250ms}
    load_balancing: {policy: least_request}
  payments: {protocol: grpc, port: 9090}
workloads:                       # read by `legation up` alone: how instances start on this host
  - {service: orders, version: v1, instances: 2, command: [node, orders/server.js]}
  - {service: orders, version: v2, command: [node, orders/server.js]}
"""

FULL = """\
mesh: shop
trust_domain: shop.local
services:
  orders:
    protocol: http
    port: 8080
    calls: [{service: payments, allow: [{methods: [POST, GET], paths: [/payments.Payments/Charge, /health/*]}]}]
    routes:
      - match: {path: /orders, headers: {x-canary: "1"}, methods: [GET]}
        timeout: 1.5s
        retry:
          retry_on: [5xx, reset]
          num_retries: 3
          per_try_timeout: 250ms
          methods: [GET, POST]
          base_interval: 5ms
          max_interval: 10ms
      - {match: {prefix: /orders/}, split: {v1: 90, v2: 10}}
    load_balancing: {policy: ring_hash, hash_header: x-user}
    health_check: {path: /healthz, interval: 2s, timeout: 1s, unhealthy_threshold: 3, healthy_threshold: 2}
    expose: {port: 8080, address: 127.0.0.2}
  payments: {protocol: grpc, port: 9090}
certificates: {ttl: 10m}
workloads:
  - {service: orders, version: v1, instances: 2, command: [node, server.js], env: {LOG_LEVEL: info}}
  - {service: orders, version: v2, command: [node, server.js]}
"""

MANY = """\
mesh: Shop
services:
  web: {protocol: http, port: 8080, calls: [ordrs, orders], expose: {port: 8080}, timeout: 1s}
  orders:
    protocol: htp
    port: 8080
    routes:
      - retry: {retry_on: [5xx, unavailable], num_retries: 12, per_try_timeout: 20s}
        split: {v1: 90, v2: x}
      - {}
    load_balancing: {policy: ring_hash, hash_headr: x-user}
  orders: {}
workloads:
  - {service: orders, command: [node], version: 2}
  - {service: nobody, command: [node]}
"""


def faults_of(text: str) -> list[str]:
    with pytest.raises(InvalidMesh) as caught:
        load(text, "mesh.yaml")
    return str(caught.value).split("\n")


def test_the_good_file_is_taken_as_it_is_meant():
    mesh = load(GOOD, "mesh.yaml").mesh
    canary, rest = mesh.services["orders"].routes
    assert [call.service for call in mesh.services["web"].calls] == ["catalog", "orders"]
    assert mesh.services["orders"].calls[1].allow[0].paths == ("/payments.Payments/Charge",)
    assert (canary.match.headers["x-canary"].exact, canary.split) == ("1", {"v2": 100})
    assert (rest.split, rest.timeout) == ({"v1": 90, "v2": 10}, timedelta(seconds=1))
    assert rest.retry is not None
    assert (rest.retry.num_retries, rest.retry.per_try_timeout) == (3, timedelta(milliseconds=250))
    assert [(w.service, w.version, w.instances) for w in mesh.workloads] == [("orders", "v1", 2), ("orders", "v2", 1)]
    assert mesh.callers("catalog")[0][0] == "web"


def test_a_file_with_every_field_is_good():
    assert check(load(FULL, "mesh.yaml")) == ()


def test_the_example_of_the_design_is_exact():
    text = "mesh: shop\ntrust_domain: s.local\nservices:\n  orders:\n    {protocol: http, port: 80, routes: [\n"
    text += "      {retry: {retry_on: [5xx],\n      num_retries: 12}}]}\n"
    assert faults_of(text) == [
        "mesh.yaml:7:20: services.orders.routes[0].retry.num_retries: 12 is above the maximum 10"
    ]


def test_all_faults_of_a_file_come_at_once_and_none_that_only_follows_from_another():
    places = [re.sub(r"^mesh.yaml:(\S+): (\S+): (.{12}).*", r"\1 \2 \3", line) for line in faults_of(MANY)]
    assert places == [
        "1:1 trust_domain missing: wri",
        "1:7 mesh 'Shop' is no",
        "3:45 services.web.calls[0] no service i",
        "3:83 services.web.timeout unknown fiel",
        "5:15 services.orders.protocol 'htp' is unk",
        "8:60 services.orders.routes[0].retry.num_retries 12 is above ",
        "8:81 services.orders.routes[0].retry.per_try_timeout 20s is above",
        "9:29 services.orders.routes[0].split.v2 'x' is text:",
        "10:9 services.orders.routes[1] never reache",
        "11:41 services.orders.load_balancing.hash_headr unknown fiel",
        "12:3 services.orders given twice,",
        "14:49 workloads[0].version 2 is a numbe",
        "15:15 workloads[1].service no service i",
    ]


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ((), 1, 1),
        (("mesh",), 1, 7),
        (("services", "orders"), 6, 3),
        (("services", "orders", "routes", 1, "retry", "num_retries"), 15, 54),
        (("services", "orders", "routes", 1), 13, 9),
        (("services", "orders", "routes", 0, "timeout"), 11, 9),
        (("services", "web", "calls", 1, "service"), 4, 59),
        (("services", "nobody", "port"), 3, 1),
    ],
)
def test_each_part_knows_its_place_and_what_is_absent_the_nearest_one(path, line, column):
    assert load(GOOD, "mesh.yaml").position(*path) == Position("mesh.yaml", line, column)


def test_a_key_knows_its_own_place():
    sourced = load(GOOD, "mesh.yaml")
    assert sourced.key("services", "orders", "routes", 1, "split", "v2") == Position("mesh.yaml", 13, 25)
    assert sourced.key("services", "orders", "port", "x") == sourced.position("services", "orders", "port")


def test_the_version_is_that_of_the_text():
    assert load(GOOD, "a").version == load(GOOD, "b").version == "65a2a87882f02d67"
    assert load(GOOD + "#", "a").version != load(GOOD, "a").version


def test_anchors_and_merge_keys_stand_where_they_were_written():
    text = """\
mesh: shop
trust_domain: shop.local
services:
  a: &usual {protocol: http, port: 8080, health_check: {path: /healthz}}
  b: {<<: *usual, port: 99999}
  c: {<<: [{port: 81}, *usual]}
"""
    assert faults_of(text) == ["mesh.yaml:5:25: services.b.port: 99999 is above the maximum 65535"]
    mesh = load(text.replace("99999", "82"), "mesh.yaml").mesh
    assert [(s.port, s.protocol) for s in mesh.services.values()] == [(8080, "http"), (82, "http"), (81, "http")]


def test_columns_count_characters():
    text = GOOD.replace("instances: 2,", "env: {NAME: 'žluťoučký 🐎'}, instances: x,")
    assert faults_of(text) == [
        "mesh.yaml:19:75: workloads[0].instances: 'x' is text: write a whole number from 0 to 100"
    ]


@given(st.text(max_size=300))
def test_any_text_is_a_mesh_or_an_invalid_mesh(text):
    _load(text)


@given(st.text(alphabet="ab:- \n\t{}[],&*!|>'\"%@`#?<~.1\\u\x00\ufeff\x85", max_size=60))
@settings(max_examples=500)
def test_any_yaml_like_text_is_a_mesh_or_an_invalid_mesh(text):
    _load(text)


VALUES = (
    "",
    "~",
    "5",
    "-1",
    "1.5",
    "true",
    "x",
    "[]",
    "{}",
    "[x]",
    "{a: b}",
    '"\\0"',
    "*x",
    "&x y",
    "<<: 1",
    "1s",
    "🐎",
)


@given(st.data())
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_any_change_of_a_good_file_is_a_mesh_or_an_invalid_mesh(data):
    """Words and lines are replaced, dropped and moved; violations lie inside of the file and are one line each."""
    parts = re.split(r"([\s,:\[\]{}]+)", FULL)
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(parts) - 1))
        parts[i] = data.draw(st.sampled_from((*VALUES, *parts)))
    _load("".join(parts))


def _load(text: str) -> None:
    try:
        sourced = load(text, "mesh.yaml")
    except InvalidMesh as invalid:
        _explained(invalid, text)
    else:
        assert check(sourced) == ()


def _explained(invalid: InvalidMesh, text: str) -> None:
    lines = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text))
    assert invalid.violations
    for violation in invalid.violations:
        assert 1 <= violation.position.line <= lines + 1
        assert violation.position.column >= 1
        assert "\n" not in str(violation)
        assert not re.search(r"pydantic|Input should|validation|Traceback|dict|tuple|timedelta", violation.message)
