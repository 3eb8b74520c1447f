# ruff: noqa: E501  a message is one line, and is shown as it is
"""Fields that are right one by one, but not together: all that is said about each."""

import pytest

from tests.mesh.bad import HEAD, WEB, grpc, said, web

BAD = {
    "a CA for logs that go in plain text": (
        WEB + "logging: {otlp: {url: http://loki:3100/otlp/v1/logs, ca: ca.pem}}\n",
        ["mesh.yaml:5:54: logging.otlp.ca: not looked at without TLS: write an https:// url, or leave it out"],
    ),
    "one host for two services": (
        web("expose: {port: 80, hosts: [a.test, b.test]}")
        + "  b: {protocol: http, port: 1, expose: {port: 80, hosts: [c.test, a.test]}}\n",
        [
            "mesh.yaml:8:67: services.b.expose.hosts[1]: 'a.test' is services.web's on port 80 already: one host leads to one service"
        ],
    ),
    "two Envoys that Prometheus could not tell apart": (
        web("telemetry_only: [{address: 10.0.0.7}, {address: 10.0.0.7, instance: b}]"),
        [
            "mesh.yaml:7:43: services.web.telemetry_only[1]: another Envoy is at 10.0.0.7:15090: each has an address and an id of its own"
        ],
    ),
    "two Envoys of one name": (
        web("telemetry_only: [{address: 10.0.0.7}, {address: a, instance: web-v1-10-0-0-7}]"),
        [
            "mesh.yaml:7:43: services.web.telemetry_only[1]: another Envoy is called web-v1-10-0-0-7: each has an address and an id of its own"
        ],
    ),
    "one host twice": (
        web("expose: {port: 80, hosts: [a.test, a.test]}"),
        [
            "mesh.yaml:7:40: services.web.expose.hosts[1]: 'a.test' is here on port 80 already: one host leads to one service"
        ],
    ),
    "TLS and plain text on one port": (
        web("expose: {port: 80, hosts: [a.test], tls: {cert: a, key: b}}")
        + "  b: {protocol: http, port: 1, expose: {port: 80, hosts: [b.test]}}\n",
        ["mesh.yaml:8:47: services.b.expose.port: 80 is taken by services.web.expose for TLS: take another port"],
    ),
    "a redirect from the port itself": (
        web("expose: {port: 80, hosts: [a.test], tls: {cert: a, key: b, redirect_port: 80}}"),
        [
            "mesh.yaml:7:79: services.web.expose.tls.redirect_port: 80 is where TLS is spoken: redirect from another port"
        ],
    ),
    "a certificate from nowhere": (
        web("expose: {port: 80, tls: {}}"),
        [
            "mesh.yaml:7:24: services.web.expose.tls: cert and key, or issuer: certmgr is missing: it says where the certificate comes from"
        ],
    ),
    "a certificate without its key": (
        web("expose: {port: 80, tls: {cert: a}}"),
        ["mesh.yaml:7:24: services.web.expose.tls: key is missing: it says where the certificate comes from"],
    ),
    "a key without its certificate": (
        web("expose: {port: 80, tls: {key: a}}"),
        ["mesh.yaml:7:24: services.web.expose.tls: cert is missing: it says where the certificate comes from"],
    ),
    "a certificate from two places": (
        web("expose: {port: 80, hosts: [a.test], tls: {cert: a, key: b, issuer: certmgr}}"),
        [
            "mesh.yaml:7:53: services.web.expose.tls.cert: certmgr issues the certificate already: leave issuer out, or cert and key"
        ],
    ),
    "an issued certificate for no host": (
        web("expose: {port: 80, tls: {issuer: certmgr}}"),
        [
            "mesh.yaml:7:38: services.web.expose.tls.issuer: certmgr issues certificates for hosts: name them in expose.hosts"
        ],
    ),
    "hosts of a tcp service in plain text": (
        web("expose: {port: 80, hosts: [a.test]}")
        + "  b: {protocol: tcp, port: 1, expose: {port: 80, hosts: [b.test]}}\n",
        [
            "mesh.yaml:8:46: services.b.expose.port: 80 is taken by services.web.expose, and connections of a tcp service name no host in plain text: take another port"
        ],
    ),
    "an objective of a tcp service": (
        web("slo: {availability: 99.9}").replace("protocol: http", "protocol: tcp"),
        ["mesh.yaml:7:5: services.web.slo: a tcp service has no requests to promise something of: leave slo out"],
    ),
    "an objective that promises nothing": (
        web("slo: {}"),
        ["mesh.yaml:7:5: services.web.slo: it promises nothing: write availability, latency or both"],
    ),
    "bounds that cross": (
        web("autoscale: {min: 3, max: 2, cpu: 50}"),
        ["mesh.yaml:7:22: services.web.autoscale.min: 3 is above max, which is 2"],
    ),
    "bounds without a target": (
        web("autoscale: {max: 2}"),
        [
            "mesh.yaml:7:5: services.web.autoscale: nothing says how many are needed: write requests_per_second, in_flight, latency or cpu"
        ],
    ),
    "times that no autoscaler takes": (
        web("autoscale: {max: 2, cpu: 50, stabilization_window: 61m, cooldown: 1h}"),
        [
            "mesh.yaml:7:56: services.web.autoscale.stabilization_window: 61m is above the maximum 1h",
            "mesh.yaml:7:71: services.web.autoscale.cooldown: 1h is above the maximum 30m",
        ],
    ),
    "requests of a tcp service": (
        web("autoscale: {max: 2, in_flight: 5, cpu: 50}").replace("protocol: http", "protocol: tcp"),
        ["mesh.yaml:7:36: services.web.autoscale.in_flight: a tcp service has no requests to count: write cpu"],
    ),
    "more instances than a host takes, were all of them needed": (
        web("autoscale: {max: 100, cpu: 50}")
        + "workloads:\n  - {service: web, command: [a]}\n  - {service: web, version: v2, command: [a]}\n"
        + "  - {service: web, version: v3, instances: 55, command: [a]}\n",
        ["mesh.yaml:8:1: workloads: 300 instances in all are above the maximum 254 of one host"],
    ),
    "a threshold between two times that are counted by": (
        web("slo: {latency: {threshold: 260ms, objective: 99}}"),
        [
            "mesh.yaml:7:32: services.web.slo.latency.threshold: 260ms is no time that requests are counted by: write 5ms, 10ms, 25ms, 50ms, 100ms, 200ms, 250ms, 300ms, 500ms, 1s, 2s, 5s, 10s, 15s, 30s or 1m"
        ],
    ),
    "a call of nobody": (
        web("calls: [orders]") + "  ordres: {protocol: http, port: 8080}\n",
        [
            "mesh.yaml:7:13: services.web.calls[0]: no service is called 'orders', did you mean ordres? known here: web, ordres"
        ],
    ),
    "a call of itself": (
        web("calls: [web]"),
        ["mesh.yaml:7:13: services.web.calls[0]: a service cannot call itself through the mesh"],
    ),
    "the same call twice": (
        web("calls: [orders, {service: orders}]") + "  orders: {protocol: http, port: 8080}\n",
        [
            "mesh.yaml:7:31: services.web.calls[1].service: 'orders' is in services.web.calls[0] already: put all of its allow rules there"
        ],
    ),
    "a reserved name": (
        HEAD + "  legation-gateway: {protocol: http, port: 8080}\n",
        [
            "mesh.yaml:4:3: services.legation-gateway: 'legation-gateway' is kept for Legation's own components: take another name"
        ],
    ),
    "the name legation": (
        HEAD + "  legation: {protocol: http, port: 8080}\n",
        ["mesh.yaml:4:3: services.legation: 'legation' is kept for Legation's own components: take another name"],
    ),
    "requests of a service that has connections": (
        web("routes: [{timeout: 1s}]\nhealth_check: {path: /a}").replace("protocol: http", "protocol: tcp")
        + "  b: {protocol: http, port: 1, calls: [{service: web, allow: [{methods: [GET]}]}]}\n",
        [
            "mesh.yaml:7:5: services.web.routes: tcp services have connections, not requests: leave it out",
            "mesh.yaml:8:26: services.web.health_check.path: tcp services are asked for a connection, which has no path: leave it out",
            "mesh.yaml:9:63: services.b.calls[0].allow[0]: web is a tcp service, whose connections have no methods, paths or headers: leave allow out",
        ],
    ),
    "a server of authorization that is not called": (
        web("ext_authz: {service: authz}") + "  authz: {protocol: grpc, port: 1}\n",
        [
            "mesh.yaml:7:26: services.web.ext_authz.service: 'authz' is not among the services that this one calls: add it to calls"
        ],
    ),
    "a server of authorization that does not speak grpc": (
        web("calls: [authz]\next_authz: {service: authz}") + "  authz: {protocol: http, port: 1}\n",
        ["mesh.yaml:8:26: services.web.ext_authz.service: authz speaks http: ext_authz asks over grpc"],
    ),
    "a service that counts and is not called": (
        web("rate_limit: {global: {service: a, limits: [{requests_per_unit: 1, unit: day}]}}"),
        [
            "mesh.yaml:7:36: services.web.rate_limit.global.service: 'a' is not among the services that this one calls: add it to calls"
        ],
    ),
    "claims of no token": (
        web("calls: [{service: b, allow: [{claims: {role: admin}}]}]") + "  b: {protocol: http, port: 1}\n",
        [
            "mesh.yaml:7:35: services.web.calls[0].allow[0].claims: b looks at no token: give it jwt, or leave claims out"
        ],
    ),
    "headers that are dropped where a server of authorization is asked": (
        web(
            "calls: [a, b]\next_authz: {service: a}\njwt: {issuer: i, jwks_uri: 'https://i.test/k', from_header: x_jwt}\n"
            "rate_limit: {global: {service: a, limits: [{requests_per_unit: 1, unit: day, by_header: x_id}]}}"
        )
        + "  a: {protocol: grpc, port: 1}\n"
        + "  b: {protocol: http, port: 1, calls: [{service: web, allow: [{headers: {x_team: a, x-a: b}}]}]}\n",
        [
            f"mesh.yaml:{at}: services.{path}: web has ext_authz, so its proxies drop headers with underscores: "
            "name one without"
            for at, path in [
                ("9:65", "web.jwt.from_header"),
                ("10:93", "web.rate_limit.global.limits[0].by_header"),
                ("12:74", "b.calls[0].allow[0].headers.x_team"),
            ]
        ],
    ),
    "a server outside with a service's name, and rules that it cannot keep": (
        web("calls: [{service: mail, allow: [{methods: [GET]}]}]")
        + "external:\n  mail: {host: mail.example.com, port: 25}\n  web: {host: web.example.com, port: 443}\n",
        [
            "mesh.yaml:7:29: services.web.calls[0].allow: mail is no service of the mesh, which could look at it: leave allow out",
            "mesh.yaml:10:3: external.web: services.web has this name: take another one",
        ],
    ),
    "a health check without a path": (
        web("health_check: {interval: 1s}"),
        ["mesh.yaml:7:5: services.web.health_check.path: missing: write what to GET, such as /healthz"],
    ),
    "a grpc health check with a path": (
        grpc("health_check: {path: /healthz}"),
        [
            "mesh.yaml:7:26: services.web.health_check.path: grpc services are asked by grpc.health.v1, which has no path: leave it out"
        ],
    ),
    "one port exposed twice": (
        web("expose: {port: 80, address: 127.0.0.2}")
        + "  b: {protocol: http, port: 1, expose: {port: 80}}\n  c: {protocol: http, port: 1, expose: {port: 80, address: 0.0.0.0}}\n",
        [
            "mesh.yaml:9:47: services.c.expose.port: 80 is taken by services.web.expose: take another port, or another address"
        ],
    ),
    "one port exposed on all addresses, then on one": (
        web("expose: {port: 80, address: 0.0.0.0}") + "  b: {protocol: http, port: 1, expose: {port: 80}}\n",
        [
            "mesh.yaml:8:47: services.b.expose.port: 80 is taken by services.web.expose: take another port, or another address"
        ],
    ),
    "one port exposed on one address twice": (
        web("expose: {port: 80}") + "  b: {protocol: http, port: 1, expose: {port: 80}}\n",
        [
            "mesh.yaml:8:47: services.b.expose.port: 80 is taken by services.web.expose: take another port, or another address, or name the hosts of both"
        ],
    ),
    "instances of two services that would have one name": (
        web("routes: []")
        + "  web-a: {protocol: http, port: 1}\n"
        + "workloads:\n- {service: web-a, version: v1, command: [x]}\n- {service: web, version: a-v1, command: [x]}\n",
        ["mesh.yaml:11:3: workloads[1]: its instances would have the names of workloads[0]'s: give it another version"],
    ),
    "certificates too short": (
        WEB + "certificates: {ttl: 30s}\n",
        ["mesh.yaml:5:21: certificates.ttl: 30s is below the minimum 1m"],
    ),
    "certificates too long": (
        WEB + "certificates: {ttl: 25h}\n",
        ["mesh.yaml:5:21: certificates.ttl: 25h is above the maximum 24h"],
    ),
    "a star inside of an allowed path": (
        web("calls: [{service: b, allow: [{paths: [/a/*/b, /a/*, /*]}]}]") + "  b: {protocol: http, port: 1}\n",
        [
            "mesh.yaml:7:43: services.web.calls[0].allow[0].paths[0]: '/a/*/b' has a * elsewhere than in /* at its end: write an exact path, or a prefix and /*"
        ],
    ),
    "a share of traces that go nowhere": (
        web("routes: [{tracing: {sampling: 5}}]"),
        [
            "mesh.yaml:7:15: services.web.routes[0].tracing: nothing says where spans go: write tracing at the top of the file too"
        ],
    ),
    "a share of traces that the client decides about": (
        web("routes: [{tracing: {sampling: 5}}]") + "tracing: {otlp: {host: a}, from_outside: continue}\n",
        [
            "mesh.yaml:7:15: services.web.routes[0].tracing: the client decides, as tracing.from_outside is continue: leave one of both out"
        ],
    ),
    "CAs of a receiver in plain text": (
        WEB + "tracing: {otlp: {host: a, ca: /ca.pem}}\n",
        ["mesh.yaml:5:27: tracing.otlp.ca: not looked at without tls: write tls: true, or leave it out"],
    ),
    "what is said of requests where there are none": (
        WEB + "  db:\n    protocol: tcp\n    port: 1\n    load_balancing: {policy: maglev, hash_cookie: {name: a}}\n"
        "    circuit_breaker: {max_requests: 1, retry_budget: {budget_percent: 1}}\n"
        "    connections: {max_connections: 1, max_requests_per_connection: 1}\n",
        [
            f"mesh.yaml:{at}: services.db.{field}: a tcp service has connections, and no requests that this could be said of: leave it out"
            for at, field in (
                ("8:38", "load_balancing.hash_cookie"),
                ("9:37", "circuit_breaker.max_requests"),
                ("9:40", "circuit_breaker.retry_budget"),
                ("10:68", "connections.max_requests_per_connection"),
            )
        ],
    ),
    "a workload of nobody": (
        WEB + "workloads: [{service: wbe, command: [node]}]\n",
        ["mesh.yaml:5:23: workloads[0].service: no service is called 'wbe', did you mean web? known here: web"],
    ),
    "one version in two workloads": (
        WEB + "workloads:\n  - {service: web, command: [node]}\n  - {service: web, version: v1, command: [node]}\n",
        [
            "mesh.yaml:7:5: workloads[1]: version v1 of web is in workloads[0] already: give it another version, or raise instances there"
        ],
    ),
    "a command without a program": (
        WEB + 'workloads: [{service: web, command: [""]}]\n',
        ["mesh.yaml:5:38: workloads[0].command[0]: '' is no program: write its name or its path"],
    ),
    "more instances than addresses": (
        WEB
        + "workloads:\n"
        + "".join(f"  - {{service: web, version: v{i}, instances: 85, command: [node]}}\n" for i in range(3)),
        ["mesh.yaml:5:1: workloads: 255 instances in all are above the maximum 254 of one host"],
    ),
}


@pytest.mark.parametrize(("text", "messages"), BAD.values(), ids=BAD)
def test_every_fault_is_told_with_its_place(text, messages):
    assert said(text) == messages
