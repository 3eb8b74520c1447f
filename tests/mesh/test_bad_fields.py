# ruff: noqa: E501  a message is one line, and is shown as it is
"""Fields that are unknown, missing or of a wrong kind: all that is said about each."""

import pytest

from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.mesh.model.service import Service

HEAD = "mesh: shop\ntrust_domain: shop.local\nservices:\n"
WEB = HEAD + "  web: {protocol: http, port: 8080}\n"


def web(more: str) -> str:
    """Return a mesh whose only service has these lines, from line 7 on."""
    lines = "".join(f"    {line}\n" for line in more.splitlines())
    return f"{HEAD}  web:\n    protocol: http\n    port: 8080\n{lines}"


BAD = {
    "an unknown field at the top": (
        WEB + "slo: {availability: 99.9}\n",
        [
            "mesh.yaml:5:1: slo: unknown field, known here: mesh, trust_domain, services, external, mtls, passthrough, certificates, tracing, metrics, prometheus, logging, dynamic_modules, workloads"
        ],
    ),
    "a field with a slip": (
        web("health_check: {path: /healthz, intervall: 1s}"),
        [
            "mesh.yaml:7:36: services.web.health_check.intervall: unknown field, did you mean interval? known here: path, interval, timeout, unhealthy_threshold, healthy_threshold"
        ],
    ),
    "an unknown field in a service": (
        web("replicas: 5"),
        [f"mesh.yaml:7:5: services.web.replicas: unknown field, known here: {', '.join(Service.model_fields)}"],
    ),
    "neither true nor false": (
        web("load_balancing: {policy: ring_hash, hash_source_address: 7}"),
        ["mesh.yaml:7:62: services.web.load_balancing.hash_source_address: 7 is a number: write true or false"],
    ),
    "an objective that is no number": (
        web("slo: {availability: high, latency: 250ms}"),
        [
            "mesh.yaml:7:25: services.web.slo.availability: 'high' is text: write a number from 95 to 99.999",
            "mesh.yaml:7:40: services.web.slo.latency: '250ms' is text: write a mapping of threshold, objective",
        ],
    ),
    "an objective that nothing can keep": (
        web("slo: {availability: 100}"),
        ["mesh.yaml:7:25: services.web.slo.availability: 100 is above the maximum 99.999"],
    ),
    "nothing but a service": (
        "services: {web: {port: 80}}\n",
        [
            "mesh.yaml:1:1: mesh: missing: write a name of lower-case letters, digits and inner dashes (63 at most)",
            "mesh.yaml:1:1: trust_domain: missing: write a trust domain of lower-case letters, digits, dots and dashes, such as shop.local",
            "mesh.yaml:1:12: services.web.protocol: missing: write http, http2, grpc or tcp",
        ],
    ),
    "no services": (
        "mesh: shop\ntrust_domain: shop.local\nservices: {}\n",
        [
            "mesh.yaml:3:1: services: empty: write a mapping, each key a name of lower-case letters, digits and inner dashes (63 at most), at least one"
        ],
    ),
    "services as a list": (
        "mesh: shop\ntrust_domain: shop.local\nservices: [web]\n",
        [
            "mesh.yaml:3:1: services: a list cannot stand here: write a mapping, each key a name of lower-case letters, digits and inner dashes (63 at most)"
        ],
    ),
    "a field without a value": (
        web("expose:\nroutes: ~"),
        [
            "mesh.yaml:7:5: services.web.expose: empty: write a mapping of port, address, hosts, tls, or leave the field out",
            "mesh.yaml:8:13: services.web.routes: ~ is empty: write a list, each entry a mapping of match, split, timeout, idle_timeout, retry, rewrite, redirect, respond, request_headers, response_headers, mirror, websocket, fault, tracing, or leave the field out",
        ],
    ),
    "an unknown protocol": (
        HEAD + "  web: {protocol: htp, port: 8080}\n",
        [
            "mesh.yaml:4:19: services.web.protocol: 'htp' is unknown, did you mean http? known here: http, http2, grpc, tcp"
        ],
    ),
    "an end of a hop that is none": (
        WEB + "logging: {mode: client}\n",
        ["mesh.yaml:5:17: logging.mode: 'client' is unknown, known here: server, client_and_server"],
    ),
    "who makes ids in words": (
        WEB + "logging: {generate_request_id: all}\n",
        ["mesh.yaml:5:32: logging.generate_request_id: 'all' is text: write true or false"],
    ),
    "an end of a call that makes spans alone": (
        WEB + "tracing: {otlp: {host: jaeger}, mode: client}\n",
        ["mesh.yaml:5:39: tracing.mode: 'client' is unknown, known here: server, client_and_server"],
    ),
    "a port out of range": (
        HEAD + "  web: {protocol: http, port: 80800}\n",
        ["mesh.yaml:4:31: services.web.port: 80800 is above the maximum 65535"],
    ),
    "a port below the range": (
        HEAD + "  web: {protocol: http, port: 0}\n",
        ["mesh.yaml:4:31: services.web.port: 0 is below the minimum 1"],
    ),
    "a port in quotes": (
        HEAD + '  web: {protocol: http, port: "8080"}\n',
        ["mesh.yaml:4:31: services.web.port: '8080' is text: write a whole number from 1 to 65535"],
    ),
    "a port that is no whole number": (
        HEAD + "  web: {protocol: http, port: 80.5}\n",
        ["mesh.yaml:4:31: services.web.port: 80.5 is a number: write a whole number from 1 to 65535"],
    ),
    "a port that is true": (
        HEAD + "  web: {protocol: http, port: true}\n",
        ["mesh.yaml:4:31: services.web.port: true is a boolean: write a whole number from 1 to 65535"],
    ),
    "a bad name of a service": (
        HEAD + "  Web_1: {protocol: http, port: 8080}\n",
        [
            "mesh.yaml:4:3: services.Web_1: 'Web_1' is not accepted: write a name of lower-case letters, digits and inner dashes (63 at most)"
        ],
    ),
    "a bad trust domain": (
        WEB.replace("shop.local", "Shop/local"),
        [
            "mesh.yaml:2:15: trust_domain: 'Shop/local' is not accepted: write a trust domain of lower-case letters, digits, dots and dashes, such as shop.local"
        ],
    ),
    "a duration without a unit": (
        web("routes: [{timeout: 15}]"),
        [
            "mesh.yaml:7:24: services.web.routes[0].timeout: 15 is no duration: write a number with its unit, such as 250ms, 1.5s, 10m or 1h"
        ],
    ),
    "a duration with an unknown unit": (
        web("routes: [{timeout: 15sec}]"),
        [
            "mesh.yaml:7:24: services.web.routes[0].timeout: '15sec' is no duration: write a number with its unit, such as 250ms, 1.5s, 10m or 1h"
        ],
    ),
    "a duration finer than Envoy's": (
        web("routes: [{timeout: 0.5ms}]"),
        [
            "mesh.yaml:7:24: services.web.routes[0].timeout: '0.5ms' is finer than a millisecond: write whole milliseconds"
        ],
    ),
    "an endless duration": (
        web("routes: [{timeout: 99999h}]"),
        ["mesh.yaml:7:24: services.web.routes[0].timeout: '99999h' is above the maximum 8760h"],
    ),
    "an interval of nothing": (
        web("health_check: {path: /healthz, interval: 0s}"),
        ["mesh.yaml:7:46: services.web.health_check.interval: '0s' is too short: write more than 0s"],
    ),
    "too many retries": (
        web("routes:\n  - retry: {retry_on: [5xx], num_retries: 12}"),
        ["mesh.yaml:8:47: services.web.routes[0].retry.num_retries: 12 is above the maximum 10"],
    ),
    "an unknown retry condition": (
        web("routes: [{retry: {retry_on: [5xxx]}}]"),
        [
            "mesh.yaml:7:34: services.web.routes[0].retry.retry_on[0]: '5xxx' is unknown, did you mean 5xx? known here: 5xx, gateway-error, reset, reset-before-request, connect-failure, refused-stream, retriable-4xx, retriable-status-codes, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable"
        ],
    ),
    "a list that is text": (
        web("routes: [{match: {methods: GET}}]"),
        [
            "mesh.yaml:7:32: services.web.routes[0].match.methods: 'GET' is text: write a list, each entry an HTTP method in capitals, such as GET"
        ],
    ),
    "a method in lower case": (
        web("routes: [{match: {methods: [get]}}]"),
        [
            "mesh.yaml:7:33: services.web.routes[0].match.methods[0]: 'get' is not accepted: write an HTTP method in capitals, such as GET"
        ],
    ),
    "a header in capitals": (
        web('routes: [{match: {headers: {X-Canary: "1"}}}]'),
        [
            "mesh.yaml:7:33: services.web.routes[0].match.headers.X-Canary: 'X-Canary' is not accepted: write a header's name in lower case, such as x-canary"
        ],
    ),
    "a header's value that is a number": (
        web("routes: [{match: {headers: {x-canary: 1}}}]"),
        [
            'mesh.yaml:7:43: services.web.routes[0].match.headers.x-canary: 1 is a number: write a header\'s value, without line breaks and control characters or a mapping of exact, prefix, suffix, contains, regex, present, in quotes: "1"'
        ],
    ),
    "a path without a slash": (
        web("routes: [{match: {path: orders}}]"),
        [
            "mesh.yaml:7:29: services.web.routes[0].match.path: 'orders' is not accepted: write a path that begins with / and holds no ?, # or blank"
        ],
    ),
    "a path with a query": (
        web("routes: [{match: {path: /orders?all}}]"),
        [
            "mesh.yaml:7:29: services.web.routes[0].match.path: '/orders?all' is not accepted: write a path that begins with / and holds no ?, # or blank"
        ],
    ),
    "a share above 100": (
        web("routes: [{split: {v1: 101}}]"),
        ["mesh.yaml:7:27: services.web.routes[0].split.v1: 101 is above the maximum 100"],
    ),
    "a call that is a number": (
        web("calls: [5]"),
        [
            'mesh.yaml:7:13: services.web.calls[0]: 5 is a number: write a name of lower-case letters, digits and inner dashes (63 at most) or a mapping of service, allow, in quotes: "5"'
        ],
    ),
    "a call with a bad name": (
        web("calls: [Orders]"),
        [
            "mesh.yaml:7:13: services.web.calls[0]: 'Orders' is not accepted: write a name of lower-case letters, digits and inner dashes (63 at most)"
        ],
    ),
    "a call without a service": (
        web("calls: [{allow: [{methods: [GET]}]}]"),
        [
            "mesh.yaml:7:13: services.web.calls[0].service: missing: write a name of lower-case letters, digits and inner dashes (63 at most)"
        ],
    ),
    "a bad address": (
        web("expose: {port: 80, address: localhost}"),
        [
            "mesh.yaml:7:33: services.web.expose.address: 'localhost' is not accepted: write an IPv4 address such as 127.0.0.1, or 0.0.0.0 for all"
        ],
    ),
    "an address that is a number": (
        web("expose: {port: 80, address: 5}"),
        [
            "mesh.yaml:7:33: services.web.expose.address: 5 is a number: write an IPv4 address such as 127.0.0.1, or 0.0.0.0 for all"
        ],
    ),
    "a version that is a number": (
        WEB + "workloads:\n  - {service: web, version: 1.10, command: [node]}\n",
        [
            'mesh.yaml:6:29: workloads[0].version: 1.10 is a number: write a name of lower-case letters, digits and inner dashes (63 at most), in quotes: "1.10"'
        ],
    ),
    "a command that is text": (
        WEB + "workloads:\n  - {service: web, command: node server.js}\n",
        ["mesh.yaml:6:29: workloads[0].command: 'node server.js' is text: write a list, each entry text without NUL"],
    ),
    "an empty command": (
        WEB + "workloads:\n  - {service: web, command: []}\n",
        ["mesh.yaml:6:20: workloads[0].command: empty: write a list, each entry text without NUL, at least one"],
    ),
    "a workload without a command": (
        WEB + "workloads:\n  - service: web\n",
        ["mesh.yaml:6:5: workloads[0].command: missing: write a list, each entry text without NUL"],
    ),
    "a variable with a number": (
        WEB + "workloads:\n  - {service: web, command: [node], env: {DEBUG: 1}}\n",
        ['mesh.yaml:6:50: workloads[0].env.DEBUG: 1 is a number: write text without NUL, in quotes: "1"'],
    ),
    "a variable with a dash": (
        WEB + "workloads:\n  - {service: web, command: [node], env: {LOG-LEVEL: info}}\n",
        [
            "mesh.yaml:6:43: workloads[0].env.LOG-LEVEL: 'LOG-LEVEL' is not accepted: write a variable's name of letters, digits and underscores, such as LOG_LEVEL"
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), BAD.values(), ids=BAD)
def test_every_fault_is_told_with_its_place(text, messages):
    with pytest.raises(InvalidMesh) as caught:
        load(text, "mesh.yaml")
    assert str(caught.value).split("\n") == messages
