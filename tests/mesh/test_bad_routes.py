# ruff: noqa: E501  a message is one line, and is shown as it is
"""Fields of routes, retries, faults and load balancing that are right one by one, but not together."""

import pytest

from tests.mesh.bad import said, web

BAD = {
    "a split that is short of 100": (
        web("routes: [{split: {v1: 90, v2: 5}}]"),
        ["mesh.yaml:7:15: services.web.routes[0].split: adds up to 95: the versions' shares must add up to 100"],
    ),
    "a split to a version that nobody runs": (
        web("routes: [{split: {v1: 90, v3: 10}}]") + "workloads: [{service: web, command: [node]}]\n",
        ["mesh.yaml:7:31: services.web.routes[0].split.v3: no workload of web has version 'v3', known here: v1"],
    ),
    "a route that is never reached": (
        web("routes:\n  - {timeout: 1s}\n  - {match: {path: /a}}"),
        [
            "mesh.yaml:9:9: services.web.routes[1]: never reached: services.web.routes[0] takes every request, and the first that matches wins"
        ],
    ),
    "a route behind the prefix /": (
        web("routes:\n  - match: {prefix: /}\n  - {match: {path: /a}}"),
        [
            "mesh.yaml:9:9: services.web.routes[1]: never reached: services.web.routes[0] takes every request, and the first that matches wins"
        ],
    ),
    "the same match twice": (
        web("routes:\n  - match: {path: /a}\n  - match: {path: /a}"),
        [
            "mesh.yaml:9:9: services.web.routes[1]: never reached: services.web.routes[0] takes the same requests, and the first that matches wins"
        ],
    ),
    "a path and a prefix": (
        web("routes: [{match: {path: /a, prefix: /b}}]"),
        ["mesh.yaml:7:33: services.web.routes[0].match.prefix: path and prefix exclude each other: leave one out"],
    ),
    "a route's path with a star": (
        web("routes: [{match: {prefix: /a/*}}]"),
        [
            "mesh.yaml:7:31: services.web.routes[0].match.prefix: '/a/*' holds a *, which matches nothing but itself: write it without"
        ],
    ),
    "ring_hash without a header": (
        web("load_balancing:\n  policy: ring_hash"),
        [
            "mesh.yaml:7:5: services.web.load_balancing.hash_header: missing: ring_hash needs the header whose value chooses the instance, or hash_cookie, or hash_source_address"
        ],
    ),
    "a hash header without use": (
        web("load_balancing: {hash_header: x-user}"),
        [
            "mesh.yaml:7:35: services.web.load_balancing.hash_header: round_robin does not look at it: leave it out, or set policy to ring_hash or maglev"
        ],
    ),
    "a regular expression that is none": (
        web('routes: [{match: {regex: "/a("}}]'),
        [
            "mesh.yaml:7:30: services.web.routes[0].match.regex: '/a(' is no regular expression: missing ), unterminated subpattern at position 2"
        ],
    ),
    "a regular expression that RE2 does not know": (
        web('routes: [{match: {headers: {x-a: {regex: "(?!a)b"}}}}]'),
        [
            "mesh.yaml:7:46: services.web.routes[0].match.headers.x-a.regex: '(?!a)b' holds (?!, which RE2 does not know: write it without"
        ],
    ),
    "a header that must look like nothing, and one like two things": (
        web("routes: [{match: {headers: {x-a: {}, x-b: {exact: a, prefix: b}}}}]"),
        [
            "mesh.yaml:7:33: services.web.routes[0].match.headers.x-a: empty: write one of exact, prefix, suffix, contains, regex or present",
            "mesh.yaml:7:42: services.web.routes[0].match.headers.x-b: exact and prefix exclude each other: leave one out",
        ],
    ),
    "an answer and a retry": (
        web("routes: [{respond: {status: 200}, split: {v1: 100}}]"),
        [
            "mesh.yaml:7:39: services.web.routes[0].split: not looked at beside respond, which asks no instance: leave it out"
        ],
    ),
    "an answer and a redirect": (
        web("routes: [{respond: {status: 200}, redirect: {host: a, status: 305}}]"),
        [
            "mesh.yaml:7:15: services.web.routes[0].respond: redirect and respond exclude each other: leave one out",
            "mesh.yaml:7:67: services.web.routes[0].redirect.status: 305 is none: write 301, 302, 303, 307 or 308",
        ],
    ),
    "rewrites of what does not match": (
        web('routes: [{match: {regex: "/a"}, rewrite: {prefix: /b, template: "/{c}"}}]'),
        [
            "mesh.yaml:7:55: services.web.routes[0].rewrite.prefix: no prefix matches here that it could stand for: write match.prefix too",
            "mesh.yaml:7:59: services.web.routes[0].rewrite.template: prefix and template exclude each other: leave one out",
            "mesh.yaml:7:69: services.web.routes[0].rewrite.template: its {names} are those of match.template: write that too",
        ],
    ),
    "a mirror to a version that nobody runs": (
        web("routes: [{mirror: {version: v3}}]") + "workloads: [{service: web, command: [node]}]\n",
        ["mesh.yaml:7:33: services.web.routes[0].mirror.version: no workload of web has version 'v3', known here: v1"],
    ),
    "faults of no kind, and of two": (
        web("routes:\n  - {match: {path: /a}, fault: {}}\n  - {fault: {abort: {status: 500, grpc_status: 1}}}"),
        [
            "mesh.yaml:8:29: services.web.routes[0].fault: empty: write delay, abort or both",
            "mesh.yaml:9:18: services.web.routes[1].fault.abort: write status or grpc_status, and not both",
        ],
    ),
    "retries that lack what they look at": (
        web(
            "routes: [{retry: {retry_on: [retriable-status-codes], hedge_on_per_try_timeout: true}}, {retry: {retry_on: [5xx], retriable_status_codes: [409]}}]"
        ),
        [
            "mesh.yaml:7:15: services.web.routes[0].retry.per_try_timeout: missing: a late try is one that is above it",
            "mesh.yaml:7:15: services.web.routes[0].retry.retriable_status_codes: missing: write the statuses, such as [503]",
            "mesh.yaml:7:93: services.web.routes[1]: never reached: services.web.routes[0] takes every request, and the first that matches wins",
            "mesh.yaml:7:119: services.web.routes[1].retry.retriable_status_codes: not looked at: add retriable-status-codes to retry_on",
        ],
    ),
    "a slow start that the policy has not": (
        web("load_balancing: {policy: random, slow_start: 10s}"),
        [
            "mesh.yaml:7:50: services.web.load_balancing.slow_start: random has none: leave it out, or set policy to round_robin or least_request"
        ],
    ),
    "times out that shrink": (
        web("outlier_detection: {base_ejection_time: 10m}"),
        ["mesh.yaml:7:5: services.web.outlier_detection: base_ejection_time 10m is above max_ejection_time 5m"],
    ),
    "a failover to nobody": (
        web("failover: spare"),
        ["mesh.yaml:7:15: services.web.failover: no service is called 'spare', known here: web"],
    ),
    "a failover to itself": (
        web("failover: web"),
        ["mesh.yaml:7:15: services.web.failover: a service cannot stand in for itself"],
    ),
    "a failover to another protocol": (
        web("failover: spare") + "  spare: {protocol: grpc, port: 1}\n",
        [
            "mesh.yaml:7:15: services.web.failover: spare speaks grpc, and web speaks http: name a service of one protocol"
        ],
    ),
    "a grpc status for http": (
        web("routes: [{retry: {retry_on: [unavailable]}}]"),
        [
            "mesh.yaml:7:34: services.web.routes[0].retry.retry_on[0]: unavailable is a grpc status, and this service speaks http: write 5xx, gateway-error, reset, reset-before-request, connect-failure, refused-stream, retriable-4xx or retriable-status-codes"
        ],
    ),
    "a try longer than its request": (
        web("routes: [{timeout: 1s, retry: {retry_on: [5xx], per_try_timeout: 2s}}]"),
        ["mesh.yaml:7:70: services.web.routes[0].retry.per_try_timeout: 2s is above the route's timeout of 1s"],
    ),
    "a try longer than the usual request": (
        web("routes: [{retry: {retry_on: [5xx], per_try_timeout: 20s}}]"),
        ["mesh.yaml:7:57: services.web.routes[0].retry.per_try_timeout: 20s is above the route's timeout of 15s"],
    ),
    "two ways to a redirect's path": (
        web("routes: [{match: {prefix: /a}, redirect: {path: /b, prefix: /c}}]"),
        ["mesh.yaml:7:57: services.web.routes[0].redirect.prefix: path and prefix exclude each other: leave one out"],
    ),
    "a limit of tries after which none is repeated": (
        web("routes: [{retry: {retry_on: [retriable-4xx], per_try_timeout: 1s}}]"),
        [
            "mesh.yaml:7:67: services.web.routes[0].retry.per_try_timeout: no try is repeated after it: retry_on needs one of 5xx, gateway-error, reset"
        ],
    ),
    "a retry without a condition": (
        web("routes: [{retry: {num_retries: 2}}]"),
        [
            "mesh.yaml:7:15: services.web.routes[0].retry.retry_on: missing: say after which failures to try again: 5xx, gateway-error, reset, reset-before-request, connect-failure, refused-stream, retriable-4xx or retriable-status-codes"
        ],
    ),
    "a back-off that shrinks": (
        web("routes: [{retry: {retry_on: [5xx], base_interval: 1s}}]"),
        ["mesh.yaml:7:15: services.web.routes[0].retry: base_interval 1s is above max_interval 250ms"],
    ),
}


@pytest.mark.parametrize(("text", "messages"), BAD.values(), ids=BAD)
def test_every_fault_is_told_with_its_place(text, messages):
    assert said(text) == messages
