"""Rows of `routes` to Envoy's routes: their order, matches, targets and limits."""

import json
import re

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from legation.mesh.load import load
from legation.mesh.model.match import RouteMatch
from legation.mesh.model.service import Service
from xds_server.compile.by_name import by_host_chain
from xds_server.compile.listener import Chain
from xds_server.compile.outbound import outbound_chain
from xds_server.compile.route import service_routes, targets
from xds_server.compile.unavailable import Outage
from xds_server.compile.websocket import socket_paths


def service(*routes: dict, **more) -> Service:
    return Service.model_validate({"protocol": "http", "port": 80, "routes": routes, **more})


def routes(given: Service):
    """Return the routes of the service's rows, behind what every proxy refuses; an only one has no part in that."""
    (host,) = service_routes("a", given).virtual_hosts
    refused = [n for n, r in enumerate(host.routes) if r.name in ("refused.host", "refused.trace")]
    assert refused == ([1, 2] if len(host.routes) == 3 else [0, 1])
    if refused == [1, 2]:
        assert [h.name for h in host.routes[0].match.headers[-2:]] == [":authority", ":method"]
        del host.routes[0].match.headers[-2:]
    return [r for r in host.routes if not r.name.startswith("refused.")]


def takes(route, method: str, path: str, headers: dict[str, str] | None = None) -> bool:
    """Say whether a route's match holds, as Envoy reads it."""
    values = {":method": method, **(headers or {})}
    at = path == route.match.path if route.match.path else path.startswith(route.match.prefix)
    return at and all(_holds(h.string_match, values.get(h.name, "")) for h in route.match.headers)


def _holds(match, value: str) -> bool:
    if match.HasField("safe_regex"):
        return re.fullmatch(match.safe_regex.regex, value) is not None
    return match.exact == value


def test_a_service_without_routes_has_one_for_everything():
    (only,) = routes(service())
    assert (only.name, only.route.cluster, only.match.prefix) == ("a.default", "a", "/")
    assert only.route.timeout.ToSeconds() == 15


@pytest.mark.parametrize(
    ("missing", "shares"),
    [
        ((), {"a/v1": 60, "a/v2": 30, "a/v3": 10}),
        (("v2",), {"a/v1": 60, "a/v3": 10}),
        (("v1", "v3"), "a/v2"),
        (("v1", "v2", "v3"), {"a/v1": 60, "a/v2": 30, "a/v3": 10}),
    ],
)
def test_versions_without_a_ready_instance_have_no_share_where_others_have_one(missing, shares):
    given = service({"split": {"v1": 60, "v2": 30, "v3": 10}}, {"split": {"v1": 100}})
    (host,) = service_routes("a", given, Outage(0.0, missing) if missing else None).virtual_hosts
    split, other = host.routes[-2:]
    assert ({c.name: c.weight.value for c in split.route.weighted_clusters.clusters} or split.route.cluster) == shares
    assert other.route.cluster == "a/v1", "it has nobody else"


def test_rows_keep_their_order_and_the_rest_goes_to_all_versions():
    found = routes(service({"match": {"path": "/x"}}, {"match": {"prefix": "/y"}, "split": {"v2": 100}}))
    assert [(r.name, r.route.cluster) for r in found] == [
        ("a.routes[0]", "a"), ("a.routes[1]", "a/v2"), ("a.default", "a"),
    ]  # fmt: skip


@pytest.mark.parametrize("match", [{}, {"prefix": "/"}])
def test_a_row_that_takes_everything_is_the_last(match):
    found = routes(service({"match": match, "split": {"v2": 30, "v1": 70, "v0": 0}}))
    weights = [(c.name, c.weight.value) for c in found[-1].route.weighted_clusters.clusters]
    assert [r.name for r in found] == ["a.routes[0]"]
    assert weights == [("a/v1", 70), ("a/v2", 30)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], (None,)),
        ([{"split": {"v1": 90, "v2": 10}}], ("v1", "v2")),
        ([{"split": {"v1": 100, "v2": 0}}], ("v1",)),
        ([{"match": {"path": "/x"}, "split": {"v1": 100}}], (None, "v1")),
        ([{"match": {"path": "/x"}}, {"split": {"v1": 100}}], (None, "v1")),
    ],
)
def test_targets_are_the_versions_that_get_requests(rows, expected):
    given = service(*rows)
    assert targets(given) == expected
    used = {r.route.cluster for r in routes(given) if r.route.cluster}
    used |= {c.name for r in routes(given) for c in r.route.weighted_clusters.clusters}
    assert used == {f"a/{version}" if version else "a" for version in expected}


RETRY = {"retry_on": ["5xx"], "num_retries": 2}


@pytest.mark.parametrize(
    ("match", "method", "retried"),
    [
        ({}, "GET", True),
        ({}, "DELETE", True),
        ({}, "POST", False),
        ({}, "PATCH", False),
        ({"methods": ["GET", "POST"]}, "GET", True),
        ({"methods": ["GET", "POST"]}, "POST", False),
        ({"methods": ["POST"]}, "POST", False),
        ({"methods": ["PUT", "GET"]}, "PUT", True),
    ],
)
def test_only_methods_that_may_be_repeated_are(match, method, retried):
    found = routes(service({"match": match, "retry": RETRY}))
    first = next(r for r in found if takes(r, method, "/"))
    assert first.name == "a.routes[0]"
    assert ("5xx" in first.route.retry_policy.retry_on.split(",")) is retried


@pytest.mark.parametrize("methods", [["GET", "POST"], ["POST"], ["GET"]])
def test_a_row_takes_no_method_that_it_does_not_name(methods):
    found = routes(service({"match": {"methods": methods}, "retry": RETRY}))
    by_method = {m: next(r.name for r in found if takes(r, m, "/")) for m in ("GET", "POST", "PUT", "PATCH")}
    assert by_method == {m: "a.routes[0]" if m in methods else "a.default" for m in by_method}


def test_headers_and_path_must_all_hold():
    found = routes(service({"match": {"path": "/x", "headers": {"b": "2", "a": "1"}}}))
    assert takes(found[0], "GET", "/x", {"a": "1", "b": "2"})
    for path, headers in (("/x", {"a": "1"}), ("/y", {"a": "1", "b": "2"}), ("/x", {"a": "1", "b": "3"})):
        assert not takes(found[0], "GET", path, headers)


def test_timeout_0_means_no_limit_for_idle_streams_either():
    endless, usual = routes(service({"match": {"path": "/x"}, "timeout": "0s"}))
    assert (endless.route.timeout.ToSeconds(), endless.route.HasField("idle_timeout")) == (0, True)
    assert endless.route.HasField("timeout")
    assert not usual.route.HasField("idle_timeout")


def test_a_hash_header_is_on_every_route():
    balancing = {"policy": "ring_hash", "hash_header": "x-user"}
    found = routes(service({"match": {"path": "/x"}}, load_balancing=balancing))
    assert [[p.header.header_name for p in r.route.hash_policy] for r in found] == [["x-user"]] * 2


SOCKETS = """
mesh: sockets
trust_domain: sockets.local
services:
  talk:
    protocol: http
    port: 8080
    failover: spare
    routes:
      - {match: {path: /a, headers: {x-a: b}}, websocket: true}
      - {match: {prefix: /b}, rewrite: {prefix: /c}, websocket: true}
      - {match: {prefix: /d}, rewrite: {path: /e}, websocket: true}
      - {match: {template: "/f/{x}"}, rewrite: {template: "/g.h/{x}"}, websocket: true}
      - {match: {prefix: /i}, rewrite: {host: k}, websocket: true}
      - {match: {prefix: /l}}
  spare: {protocol: http, port: 8080, routes: [{rewrite: {regex: {pattern: a, substitution: b}}, websocket: true}]}
  other: {protocol: http, port: 8080}
"""


def test_websockets_are_told_by_the_path_that_the_app_sees():
    """That of a pattern that is replaced may be any; a service takes those of whom it stands in for."""
    mesh = load(SOCKETS, "mesh.yaml").mesh
    paths = [{"path": "/a"}, {"prefix": "/c"}, {"path": "/e"}, {"regex": r"/g\.h/.*"}, {"prefix": "/i"}]
    talk = [RouteMatch(**path) for path in paths]
    assert socket_paths(mesh, "talk") == tuple(talk)
    assert socket_paths(mesh, "spare") == (*talk, RouteMatch())
    assert socket_paths(mesh, "other") == ()


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ({}, None),
        ({"timeout": "5m"}, None),
        ({"timeout": "301s"}, 300),
        ({"timeout": "0s"}, 0),
        ({"timeout": "0s", "idle_timeout": "7s"}, 7),
        ({"idle_timeout": "0s"}, 0),
        ({"idle_timeout": "7s"}, 7),
        ({"websocket": True}, 300),
        ({"websocket": True, "idle_timeout": "1h"}, 3600),
    ],
)
def test_a_silent_request_has_a_limit_where_no_timeout_ends_it_before(row, seconds):
    (found,) = {r.route.idle_timeout.ToSeconds() if r.route.HasField("idle_timeout") else None
                for r in routes(service(row))}  # fmt: skip
    assert found == seconds


@pytest.mark.parametrize(
    ("row", "reads"),
    [
        ({}, False),
        ({"match": {"prefix": "/"}}, False),
        ({"match": {"headers": {"x-a": "b"}, "query": {"path": "/a"}, "methods": ["GET"]}}, False),
        ({"match": {"prefix": "/a"}}, True),
        ({"match": {"path": "/a"}}, True),
        ({"match": {"regex": "/a.*"}}, True),
        ({"match": {"template": "/a/{b}"}}, True),
        ({"match": {"grpc": {"service": "a.B"}}}, True),
        ({"rewrite": {"regex": {"pattern": "a", "substitution": "b"}}}, True),
        ({"redirect": {"host": "b"}}, True),
    ],
)
def test_a_caller_s_proxy_leaves_paths_to_its_callee_s_where_no_route_reads_them(row, reads):
    """Outside the mesh is no such proxy; of several services that share a port each has its say."""
    services = {
        "web": {"protocol": "http", "port": 8080, "calls": ["a", "b", "c"]},
        "a": {"protocol": "http", "port": 80, "routes": [row]},
        "b": {"protocol": "http", "port": 80},
    }
    external = {"c": {"protocol": "http", "host": "c.example", "port": 443}}
    text = json.dumps({"mesh": "m", "trust_domain": "m.local", "services": services, "external": external})
    mesh = load(text, "mesh.yaml").mesh
    chains = [outbound_chain(mesh, callee, "web") for callee in ("a", "b", "c")]
    chains.append(by_host_chain(mesh, "web", 80, ["b", "a"]))
    assert [_normalizes(chain) for chain in chains] == [reads, False, True, reads]


def _normalizes(chain: Chain) -> bool:
    manager = HttpConnectionManager()
    Listener.FromString(chain.body).filter_chains[0].filters[-1].typed_config.Unpack(manager)
    return manager.normalize_path.value
