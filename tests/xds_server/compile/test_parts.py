"""Small decisions of compile that neither a golden file nor a real Envoy shows: what a field becomes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route as Row
from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.model.action import Fault
from legation.mesh.model.route import Route
from legation.mesh.model.service import Service
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.compile.access_log import logged
from xds_server.compile.active_health_check import asking
from xds_server.compile.ask import _headers
from xds_server.compile.fault import befallen, fault
from xds_server.compile.global_rate_limit import counted
from xds_server.compile.load_balancing import hash_policies
from xds_server.compile.locality import shares
from xds_server.compile.match import header_match, route_match
from xds_server.compile.outlier_detection import detection
from xds_server.compile.rbac import allowed_permissions
from xds_server.compile.rewrite import rewrite
from xds_server.endpoint import Endpoint

HEAD = "mesh: parts\ntrust_domain: parts.local\nservices:\n"
WEB = InstanceSpec("web-v1-0", "web", "v1", "1", "127.64.0.1", 15006, zone="a", app_port=20000, metrics_port=15090)
GATEWAY = replace(WEB, id="gateway-0", service=names.GATEWAY, app_port=0)


def compiler(orders: str) -> Compiler:
    text = f"{HEAD}  web: {{protocol: http, port: 8080, calls: [orders]}}\n  orders: {{{orders}}}\n"
    return Compiler(load(text, "mesh.yaml"))


def service(fields: str) -> Service:
    text = f"{HEAD}  orders: {{protocol: http, port: 8080, {fields}}}\n"
    return load(text, "mesh.yaml").mesh.services["orders"]


def route(fields: str) -> Route:
    return service(f"routes: [{{{fields}}}]").routes[0]


@pytest.mark.parametrize(
    ("zone", "callers"), [("a", {}), ("c", {"c": 1}), ("a", {"b": 1})], ids=["no callers", "no instance", "not here"]
)
def test_a_zone_that_cannot_keep_to_itself_shares_by_instances(zone: str, callers: Mapping[str, int]) -> None:
    assert shares(zone, callers, {"a": 2, "b": 1}) == {"a": 2, "b": 1}


def test_nodes_of_a_zone_share_what_their_zone_sees() -> None:
    compile_ = compiler("protocol: http, port: 8080, load_balancing: {locality: prefer_local}")
    endpoints = {"orders": (Endpoint("orders-v1-0", "v1", "127.64.2.1", 15006, zone="a"),)}
    one, two = (compile_.snapshot(node, endpoints) for node in (WEB, replace(WEB, id="web-v1-1")))
    assert one.of_type(kinds.ENDPOINT) is two.of_type(kinds.ENDPOINT)


def test_callers_make_new_connections_once_for_each_set_of_revoked_certificates() -> None:
    compile_ = compiler("protocol: http, port: 8080")

    def version() -> str:
        return compile_.snapshot(WEB, {}).of_type(kinds.CLUSTER)["orders"].version

    before = version()
    compile_.renew_connections(frozenset({"0a"}))
    after = version()
    compile_.renew_connections(frozenset({"0a"}))
    assert before != after == version()


def test_an_exposed_tcp_service_has_a_listener_with_its_limits() -> None:
    limits = "connections: {idle_timeout: 30s, max_duration: 60s}"
    compile_ = compiler(f"protocol: tcp, port: 6379, expose: {{port: 16379}}, {limits}")
    (found,) = compile_.snapshot(GATEWAY, {}).of_type(kinds.LISTENER).values()
    listener = Listener.FromString(found.body)
    assert listener.address.socket_address.port_value == 16379
    proxy = TcpProxy.FromString(listener.filter_chains[0].filters[0].typed_config.value)
    assert proxy.cluster == "orders"
    assert (proxy.idle_timeout.seconds, proxy.max_downstream_connection_duration.seconds) == (30, 60)


def test_a_token_may_be_in_a_header_of_its_own() -> None:
    found = service("jwt: {issuer: x, jwks_uri: 'https://x.example/keys', from_header: x-token}").jwt
    assert found is not None
    assert [(h.name, h.value_prefix) for h in _headers(found)] == [("x-token", "")]


@pytest.mark.parametrize(
    ("protocol", "abort", "expected"),
    [("grpc", "{grpc_status: 14}", (0, 14)), ("http", "{status: 418}", (418, 0))],
)
def test_an_aborted_call_gets_the_status_that_was_asked_for(
    protocol: str, abort: str, expected: tuple[int, int]
) -> None:
    text = f"{HEAD}  orders: {{protocol: {protocol}, port: 9090, routes: [{{fault: {{abort: {abort}}}}}]}}\n"
    asked = load(text, "mesh.yaml").mesh.services["orders"].routes[0].fault
    assert asked is not None
    made = fault(asked).abort
    assert (made.http_status, made.grpc_status) == expected


def test_a_cookie_without_a_life_is_the_apps_own() -> None:
    (policy,) = hash_policies(service("load_balancing: {policy: maglev, hash_cookie: {name: sid}}").load_balancing)
    assert (policy.cookie.name, policy.cookie.HasField("ttl")) == ("sid", False)


def test_a_header_or_a_query_may_have_to_be_there_or_not_and_match_an_expression() -> None:
    match = route(
        "match: {headers: {x-a: {present: false}, x-b: {regex: 'v[0-9]'}}, query: {q: {present: true}, r: {prefix: x}}}"
    ).match
    headers = {name: header_match(name, text) for name, text in match.headers.items()}
    assert headers["x-a"].HasField("present_match")
    assert not headers["x-a"].present_match
    assert headers["x-b"].string_match.safe_regex.regex == "v[0-9]"
    there, begins = sorted(route_match(match).query_parameters, key=lambda q: q.name)
    assert there.present_match
    assert begins.string_match.prefix == "x"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", {"consecutive_5xx": 5, "enforcing_consecutive_5xx": 100}),
        (
            "split_external_local_origin_errors: true, success_rate_minimum_hosts: 3",
            {"enforcing_success_rate": 100, "enforcing_local_origin_success_rate": 100},
        ),
    ],
)
def test_what_ejects_when_little_is_said(fields: str, expected: Mapping[str, Any]) -> None:
    asked = service(f"outlier_detection: {{{fields}}}").outlier_detection
    assert asked is not None
    found = detection(asked)
    assert {field: getattr(found, field).value for field in expected} == expected


def test_everything_below_the_root_is_everything() -> None:
    text = f"{HEAD}  web: {{protocol: http, port: 8080, calls: [{{service: orders, allow: [{{paths: ['/*']}}]}}]}}\n"
    mesh = load(f"{text}  orders: {{protocol: http, port: 8080}}\n", "mesh.yaml").mesh
    permissions = allowed_permissions(mesh.services["web"].calls[0].allow)
    assert "any: true" in str(permissions)


def test_a_path_is_rewritten_as_a_whole_or_by_its_beginning() -> None:
    whole, beginning = RouteAction(), RouteAction()
    for action, fields in (
        (whole, "rewrite: {path: '/a\\b'}"),
        (beginning, "match: {prefix: /a}, rewrite: {prefix: /b}"),
    ):
        asked = route(fields).rewrite
        assert asked is not None
        rewrite(action, asked)
    assert whole.regex_rewrite.substitution == "/a\\\\b"
    assert beginning.prefix_rewrite == "/b"


LIMITED = """
mesh: limits
trust_domain: limits.local
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders:
    protocol: http
    port: 8080
    calls: [limiter]
    active_health_check: {interval: 3s}
    rate_limit:
      global:
        service: limiter
        limits:
          - {requests_per_unit: 2, unit: day, by_caller: true, by_header: x-user}
          - {requests_per_unit: 3, unit: hour, by_source_address: true}
          - {requests_per_unit: 9, unit: minute}
  limiter: {protocol: grpc, port: 8081}
"""


def test_limits_are_written_as_ratelimit_reads_them():
    found = counted(load(LIMITED, "mesh.yaml").mesh)
    assert found["domain"] == "limits"
    first, second, third = found["descriptors"]
    assert len({first["value"], second["value"], third["value"]}) == 3
    (caller,) = first["descriptors"]
    (user,) = caller["descriptors"]
    assert (user["key"], user["rate_limit"]) == ("x-user", {"unit": "day", "requests_per_unit": 2})
    assert second["descriptors"][0]["key"] == "remote_address"
    assert third["rate_limit"] == {"unit": "minute", "requests_per_unit": 9}


def test_a_service_is_asked_for_as_often_without_traffic_as_with_it():
    services = load(LIMITED, "mesh.yaml").mesh.services
    (check,) = asking("orders", services["orders"].active_health_check)
    assert check.no_traffic_interval == check.no_traffic_healthy_interval == check.interval
    assert check.interval.seconds == 3
    assert asking("web", services["web"].active_health_check) == ()


def test_who_has_not_the_headers_of_a_fault_takes_the_same_row_without_it():
    hit, spared = befallen(Row(name="a"), Fault.model_validate({"abort": {"status": 418}, "headers": {"x-chaos": "1"}}))
    assert (hit.name, spared) == ("a", Row(name="a"))
    assert [header.name for header in hit.match.headers] == ["x-chaos"]
    assert not spared.typed_per_filter_config
    assert len(list(befallen(Row(name="a"), Fault.model_validate({"abort": {"status": 418}})))) == 1


@pytest.mark.parametrize(
    ("logging", "called", "expected"),
    [
        ("{}", ["orders"], "odd"),
        ("{}", [], "all"),
        ("{}", ["elsewhere"], "all"),
        ("{}", ["orders", "elsewhere"], "all"),
        ("{}", ["answers"], "all"),
        ("{mode: client_and_server}", ["orders"], "all"),
        ("{sampling: 10}", ["orders"], "odd"),
        ("{sampling: 0}", ["orders"], "failed"),
        ("{sampling: 0}", [], "failed"),
    ],
)
def test_a_caller_writes_down_what_its_callees_do_not(logging, called, expected):
    answers = "answers: {protocol: http, port: 80, routes: [{respond: {status: 200}}]}"
    text = f"logging: {logging}\n{HEAD}  orders: {{protocol: http, port: 80}}\n  {answers}\n"
    assert logged(load(text, "mesh.yaml").mesh, called) == expected
