"""The meshes of dataplane: one service that calls another, with one group of features on, or all of them."""

from collections.abc import Mapping

from bench.sidecars import APP_PORT, CALLED, CALLER, TRUST_DOMAIN, address

PROTOCOLS = ("http1", "http2", "grpc")
PATH = "/items.Items/Get"

_ROUTING = """
- {match: {template: "/users/{id}", query: {debug: {present: true}}}, rewrite: {template: "/u/{id}"}}
- {match: {regex: "/v[0-9]+/.*", headers: {x-a: {suffix: z}}}}
- {match: {path: /old}, redirect: {prefix: /new, status: 308}}
- {match: {headers: {x-canary: "1"}}, split: {v2: 100}}
"""
_LAST = {
    "routing": "split: {v1: 100}, request_headers: {set: {x-set: a}}, response_headers: {add: {x-add: b}}",
    "resilience": "timeout: 5s, idle_timeout: 30s, retry: {retry_on: [5xx], num_retries: 3, per_try_timeout: 1s}",
    "faults": 'fault: {delay: {duration: 100ms, percent: 10}, abort: {status: 503}, headers: {x-chaos: "1"}}',
}
"""What the route that every request takes says."""

_FIELDS = {
    "balancing": "load_balancing: {policy: maglev, hash_header: x-user, panic_threshold: 50}",
    "resilience": (
        "circuit_breaker: {max_connections: 1000, max_requests: 10000, retry_budget: {budget_percent: 20}}\n"
        "outlier_detection: {consecutive_5xx: 5, failure_percentage_threshold: 80}"
    ),
    "jwt": (
        "jwt: {issuer: 'https://id.example.com', cached_tokens: 1000, "
        f"jwks_uri: 'http://{address(0)}:{APP_PORT}/jwks.json'}}"
    ),
    "limits": "rate_limit: {local: {requests: 1000000, per: 1s}}\nconnections: {max_connections: 10000}",
    "extauthz": "ext_authz: {service: authz, timeout: 1s}\ncalls: [authz]",
    "globallimit": (
        "rate_limit: {global: {service: limiter, timeout: 1s, "
        "limits: [{requests_per_unit: 1000000000, unit: day, by_caller: true}]}}\ncalls: [limiter]"
    ),
}
_ALLOW = f"[{{methods: [POST, GET], paths: [{PATH}, /health, /admin/*], headers: {{x-team: {{prefix: pay}}}}}}]"

ALONE = ("routing", "balancing", "resilience", "access", "jwt", "limits", "faults")
"""Groups of features that call no other service for a request."""

ASKING: Mapping[str, str] = {"extauthz": "authz", "globallimit": "limiter"}
"""Groups that ask another service about each request, and which: what that costs has no goal."""

GROUPS: Mapping[str, tuple[str, ...]] = {"plain": (), **{name: (name,) for name in ALONE}, "all": ALONE}


def text(groups: tuple[str, ...], protocol: str) -> str:
    """Return a mesh.yaml with some groups of features on at the called service."""
    lines = ["mesh: bench", f"trust_domain: {TRUST_DOMAIN}", "services:"]
    allow = f", allow: {_ALLOW}" if "access" in groups else ""
    lines.append(f"  {CALLER}: {{protocol: http, port: 8080, calls: [{{service: {CALLED}{allow}}}]}}")
    lines += [f"  {CALLED}:", f"    protocol: {'http' if protocol == 'http1' else protocol}", "    port: 8080"]
    lines += [f"    {line}" for name in groups for line in _FIELDS.get(name, "").splitlines()]
    last = ", ".join(_LAST[name] for name in groups if name in _LAST)
    if last:
        rows = _ROUTING.strip().splitlines() if "routing" in groups else []
        lines += ["    routes:", *(f"      {row}" for row in [*rows, f"- {{{last}}}"])]
    lines += [f"  {service}: {{protocol: grpc, port: 9000}}" for service in ASKING.values()]
    lines.append("workloads:")
    lines += [f"  - {{service: {CALLED}, version: {version}, command: [node]}}" for version in ("v1", "v2")]
    return "\n".join(lines) + "\n"


def headers(protocol: str, token: str) -> Mapping[str, str]:
    """Return what each request says, whatever is on: some of what a browser or a library would."""
    common = {
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0",
        "accept": "text/html,application/json;q=0.9,*/*;q=0.8",
        "x-team": "payments",
        "x-user": "ann",
        "authorization": f"Bearer {token}",
    }
    grpc = {"content-type": "application/grpc", "te": "trailers"}
    return {**common, **grpc} if protocol == "grpc" else common
