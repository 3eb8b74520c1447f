"""What a service asks of a request beside who sends it, through stock Envoys: tokens, a server that is asked."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import httpx
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.rpc.code_pb2 import OK, PERMISSION_DENIED
from google.rpc.status_pb2 import Status

from tests.xds_server.compile.fleet import APP_PORT, App, Fleet, address, wait_for
from tests.xds_server.compile.tokens import Issuer, b64

KEYS_SLOT = 120
KEYS = f"http://{address(KEYS_SLOT)}:8000/jwks.json"
CHANGING = f"http://{address(KEYS_SLOT)}:8000/changing.json"
MESH = f"""
mesh: access
trust_domain: access.local
services:
  web:
    protocol: http
    port: 8080
    calls:
      - {{service: ledger, allow: [{{headers: {{x-team: {{prefix: pay}}, x-test: {{present: false}}}}}}]}}
      - {{service: tried, allow: [{{methods: [GET], paths: [/, /a/*]}}]}}
      - tokens
      - service: claims
        allow: [{{methods: [GET], paths: [/read]}}, {{paths: [/write], claims: {{role: admin}}}}]
      - asked
      - careless
      - remembers
      - shown
  desk: {{protocol: http, port: 8080, calls: [ledger]}}
  ledger: {{protocol: http, port: 8080}}
  tried: {{protocol: http, port: 8080, access: {{mode: shadow}}}}
  tokens:
    protocol: http
    port: 8080
    jwt:
      issuer: https://id.example.com
      jwks_uri: {KEYS}
      audiences: [tokens]
      claim_to_headers: {{x-user: sub}}
      exempt: [/healthz]
  claims:
    protocol: http
    port: 8080
    jwt: {{issuer: "https://id.example.com", jwks_uri: "{KEYS}", from_header: x-token, forward: true, jwks_ttl: 10s}}
  asked:
    protocol: http
    port: 8080
    calls: [authz]
    ext_authz: {{service: authz, timeout: 2s, max_request_bytes: 100}}
  remembers:
    protocol: http
    port: 8080
    jwt: {{issuer: "https://id.example.com", jwks_uri: "{CHANGING}", jwks_ttl: 1s, cached_tokens: 10}}
  shown: {{protocol: http, port: 8080, jwt: {{issuer: "https://id.example.com", jwks_uri: "{KEYS}", forward: true}}}}
  careless:
    protocol: http
    port: 8080
    calls: [nobody]
    ext_authz: {{service: nobody, failure_mode_allow: true}}
  authz: {{protocol: grpc, port: 9000}}
  nobody: {{protocol: grpc, port: 9000}}
"""
APPS = ("ledger", "tried", "tokens", "claims", "asked", "careless", "remembers", "shown")


class Authz(grpc.GenericRpcHandler):
    """An ext_authz server: lets in who says please, and says so to the app."""

    def __init__(self) -> None:
        self.seen: list[CheckRequest] = []
        self.says = ("x-decided", "yes")

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/envoy.service.auth.v3.Authorization/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._check, CheckRequest.FromString, CheckResponse.SerializeToString
        )

    def _check(self, request: CheckRequest, _: grpc.ServicerContext) -> CheckResponse:
        self.seen.append(request)
        if "x-please" not in request.attributes.request.http.headers:
            return CheckResponse(status=Status(code=PERMISSION_DENIED))
        answer = CheckResponse(status=Status(code=OK))
        header = answer.ok_response.headers.add().header
        header.key, header.value = self.says
        return answer


class World:
    def __init__(self, fleet: Fleet, apps: dict[str, App], issuer: Issuer, authz: Authz) -> None:
        self.fleet, self.apps, self.issuer, self.authz = fleet, apps, issuer, authz
        self.changing = issuer

    def ask(
        self, callee: str, path: str = "/", method: str = "GET", caller: str = "web", **more: Any
    ) -> httpx.Response:
        url = f"http://{self.fleet.outbound(f'{caller}-v1', callee)}{path}"
        return httpx.request(method, url, timeout=10, **more)

    def seen(self, service: str) -> list[tuple[str, str, dict[str, str]]]:
        return self.apps[service].seen


def _publish(world: World) -> ThreadingHTTPServer:
    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (world.changing if self.path == "/changing.json" else world.issuer).jwks()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address(KEYS_SLOT), 8000), Keys)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    issuer, authz = Issuer(), Authz()
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add("web")
    fleet.add("desk")
    server = grpc.server(ThreadPoolExecutor(4), handlers=[authz])
    server.add_insecure_port(f"{fleet.add('authz').app_address}:{APP_PORT}")
    server.start()
    apps = {name: App(fleet.add(name).address, name) for name in APPS}
    world = World(fleet, apps, issuer, authz)
    keys = _publish(world)
    with fleet.running():
        yield world
    server.stop(None)
    keys.shutdown()
    for app in apps.values():
        app.stop()


@pytest.fixture
def world(running: World) -> World:
    for app in running.apps.values():
        app.reset()
    running.authz.seen.clear()
    return running


@pytest.mark.parametrize(
    ("headers", "caller", "status"),
    [({"x-team": "payments"}, "web", 200), ({"x-team": "pay"}, "web", 200), ({"x-team": "sales"}, "web", 403),
     ({}, "web", 403), ({"x-team": "payments", "x-test": "1"}, "web", 403), ({}, "desk", 200)],
)  # fmt: skip
def test_headers_that_a_caller_must_send(world: World, headers: dict[str, str], caller: str, status: int) -> None:
    assert world.ask("ledger", headers=headers, caller=caller).status_code == status


def test_in_shadow_mode_all_is_let_in_and_counted_for_each_caller(world: World) -> None:
    def denied(policy: str) -> int:
        return world.fleet.stat("tried-v1", rf"http.inbound.rbac.policy.{policy}.shadow_denied")

    before = denied("web")
    assert [world.ask("tried", method=m).status_code for m in ("GET", "POST", "POST")] == [200] * 3
    assert len(world.seen("tried")) == 3
    wait_for(lambda: denied("web") == before + 2)
    assert denied("others") == 0


def test_in_shadow_mode_nothing_is_changed_or_refused_for_what_calls_say(world: World) -> None:
    """Nor a path that an app may take to lead elsewhere, which would be a 400 where `calls` counts."""
    headers = {"x-http-method-override": "PUT", "x-original-url": "/b"}
    assert world.ask("tried", "/a/b%2fc", "POST", headers=headers).status_code == 200
    ((_, path, seen),) = world.seen("tried")
    assert (path, headers.items() <= seen.items()) == ("/a/b%2fc", True)


@pytest.mark.parametrize(
    "beside",
    ["x-original-url", "X_Original_URL", "x-rewrite-url", "x-http-method-override", "x_http_method_override",
     "x-http-method", "x-method-override"],
)  # fmt: skip
def test_no_header_says_another_path_or_method_than_calls_looked_at(world: World, beside: str) -> None:
    """Where `calls` names paths and methods; an app that minds such headers gets them everywhere else."""
    token = {"x-token": world.issuer.token()}
    wait_for(lambda: world.ask("claims", "/read", headers=token).status_code == 200)
    assert world.ask("claims", "/read", headers={**token, beside: "other"}).status_code == 200
    assert "other" not in world.seen("claims")[-1][2].values()
    assert world.ask("tried", headers={beside: "other"}).status_code == 200
    assert "other" in world.seen("tried")[-1][2].values()


def test_a_token_that_nobody_has_looked_at_reaches_no_app(world: World) -> None:
    """Neither under the header's other spelling nor beside one that is good."""
    good, forged = world.issuer.token(), Issuer().token(sub="root")
    wait_for(lambda: world.ask("claims", "/read", headers={"x-token": good}).status_code == 200)
    assert world.ask("claims", "/read", headers={"x-token": good, "x_token": forged}).status_code == 200
    assert forged not in world.seen("claims")[-1][2].values()
    both = [("x-token", good), ("x-token", forged)]
    assert [world.ask("claims", "/read", headers=h).status_code for h in (both, both[::-1])] == [401, 401]


@pytest.mark.parametrize(
    "shown", [["Basic YTpi", "Bearer {}"], ["bearer {other}", "Bearer {}"], ["bearer {other}, Bearer {}"],
              ["bearer {other} Bearer {}"], ["Bearer {}", "Bearer {other}"], ["Bearer {} {other}"]],
)  # fmt: skip
def test_a_token_that_the_app_gets_to_see_stands_alone(world: World, shown: list[str]) -> None:
    """Envoy finds one that is good behind whatever else a header says; an app may take what comes first."""
    good, forged = world.issuer.token(), Issuer().token(sub="root")
    wait_for(lambda: world.ask("shown", headers=bearer(good)).status_code == 200)
    assert world.seen("shown")[-1][2]["authorization"] == f"Bearer {good}"
    world.apps["shown"].reset()
    headers = [("authorization", one.format(good, other=forged)) for one in shown]
    assert world.ask("shown", headers=headers).status_code == 401
    assert world.seen("shown") == []


@pytest.mark.parametrize("other", ["x_team", "x_test"])
def test_a_header_that_calls_look_at_has_one_spelling(world: World, other: str) -> None:
    """CGI and WSGI give an app x_test and x-test, of which there shall be none, under one name."""
    assert world.ask("ledger", headers={"x-team": "pay", other: "forged"}).status_code == 200
    seen = world.seen("ledger")[-1][2]
    assert (seen["x-team"], "forged" in seen.values()) == ("pay", False)
    assert world.ask("ledger", headers={"x_team": "pay"}).status_code == 403


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_token_lets_in_and_says_who_it_is(world: World) -> None:
    wait_for(lambda: world.ask("tokens", headers=bearer(world.issuer.token())).status_code == 200)
    headers = world.seen("tokens")[-1][2]
    assert headers["x-user"] == "ann"
    assert "authorization" not in headers
    assert world.ask("tokens", "/healthz").status_code == 200


@pytest.mark.parametrize("forged", ["x-user", "X-User", "x_user", "X_USER"])
@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_nobody_says_who_they_are_but_by_a_token(world: World, path: str, forged: str) -> None:
    """In no spelling: CGI and WSGI give an app x_user and x-user under one name. Nor where no token is needed."""
    bearing = bearer(world.issuer.token()) if path == "/" else {}
    wait_for(lambda: world.ask("tokens", path, headers=bearing).status_code == 200)
    assert world.ask("tokens", path, headers={**bearing, forged: "root"}).status_code == 200
    seen = world.seen("tokens")[-1][2]
    assert [name for name, value in seen.items() if "root" in value] == []


def test_a_remembered_token_outlives_its_key(world: World) -> None:
    def status(token: str) -> int:
        return world.ask("remembers", headers=bearer(token)).status_code

    seen, unseen = world.changing.token(), world.changing.token(sub="bea")
    wait_for(lambda: status(seen) == 200)
    world.changing = Issuer()
    wait_for(lambda: status(world.changing.token()) == 200)
    assert (status(seen), status(unseen)) == (200, 401), "the key of both is withdrawn, one is remembered"


@pytest.mark.parametrize(
    "make",
    [
        lambda issuer: {},
        lambda issuer: bearer("no.token.atall"),
        lambda issuer: bearer(issuer.token(exp=int(time.time()) - 120)),
        lambda issuer: bearer(issuer.token(exp=None)),
        lambda issuer: bearer(issuer.token(iss="https://other.example.com")),
        lambda issuer: bearer(Issuer().token()),
        lambda issuer: bearer(issuer.token().rpartition(".")[0] + "."),
        lambda issuer: bearer(b64(b'{"alg":"none"}') + "." + issuer.token().split(".")[1] + "."),
        lambda issuer: {"x-user": "root"},
    ],
)
def test_without_a_good_token_nobody_gets_in(world: World, make: Callable[[Issuer], dict[str, str]]) -> None:
    assert world.ask("tokens", headers=make(world.issuer)).status_code == 401
    assert world.ask("tokens", "/healthz/../", headers=make(world.issuer)).status_code == 401
    assert world.seen("tokens") == []


def test_a_token_for_another_audience_is_denied(world: World) -> None:
    assert world.ask("tokens", headers=bearer(world.issuer.token(aud="other"))).status_code == 403


def test_a_token_in_the_query_is_none(world: World) -> None:
    assert world.ask("tokens", f"/?access_token={world.issuer.token()}").status_code == 401


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [("/read", None, 200), ("/write", "admin", 200), ("/write", ["user", "admin"], 200), ("/write", "user", 403),
     ("/write", None, 403), ("/write", ["administrator"], 403), ("/other", "admin", 403)],
)  # fmt: skip
def test_claims_decide_what_a_user_may_do(world: World, path: str, role: str | list[str] | None, status: int) -> None:
    token = {"x-token": world.issuer.token(role=role)}
    wait_for(lambda: world.ask("claims", "/read", headers=token).status_code == 200)
    assert world.ask("claims", path, headers=token).status_code == status
    assert world.seen("claims")[-1][2]["x-token"] == token["x-token"]


def test_a_server_that_is_asked_decides(world: World) -> None:
    assert world.ask("asked", method="POST", content=b"x" * 200).status_code == 403
    assert world.ask("asked", headers={"x-please": "1", "x-decided": "forged"}).status_code == 200
    ((_, _, headers),) = world.seen("asked")
    assert headers["x-decided"] == "yes"
    first = world.authz.seen[0].attributes
    assert first.source.principal == "spiffe://access.local/web"
    assert first.request.http.body == "x" * 100


def test_nobody_speaks_for_a_server_that_is_asked(world: World) -> None:
    """Its headers have names that only it knows; CGI and WSGI give an app `x_decided` under the same as `x-decided`."""
    forged = {"x-please": "1", "x_decided": "forged", "x-Decided": "forged", "a_b": "c", "a-b": "c"}
    assert world.ask("asked", headers=forged).status_code == 200
    ((_, _, headers),) = world.seen("asked")
    assert [name for name in headers if "_" in name or headers[name] == "forged"] == []
    assert (headers["x-decided"], headers["a-b"]) == ("yes", "c")
    assert "a_b" not in world.authz.seen[0].attributes.request.http.headers


@pytest.mark.parametrize(
    "says",
    [("x-forwarded-client-cert", "URI=spiffe://access.local/root"), ("x-legation-retry", "1"), ("host", "other"),
     ("x-envoy-upstream-rq-timeout-ms", "1"), (":path", "/other"), (":method", "POST"), ("content-length", "5"),
     ("transfer-encoding", "chunked"), ("x-decided", "a\r\nx-b: c")],
)  # fmt: skip
def test_a_server_that_is_asked_speaks_for_no_proxy(world: World, says: tuple[str, str]) -> None:
    """Nor does it say where a request ends, or that it is another; what it could not say leaves the caller's out."""
    world.authz.says = says
    try:
        assert world.ask("asked", headers={"x-please": "1", "x-decided": "forged"}).status_code == 500
    finally:
        world.authz.says = ("x-decided", "yes")
    assert world.seen("asked") == []
    assert world.ask("asked", headers={"x-please": "1"}).status_code == 200


def test_without_its_server_a_service_denies_unless_told_otherwise(world: World) -> None:
    world.fleet.absent = {"authz-v1"}
    world.fleet.tell()
    try:
        wait_for(lambda: world.ask("asked", headers={"x-please": "1"}).status_code == 403 and not world.authz.seen)
    finally:
        world.fleet.absent = set()
        world.fleet.tell()
    assert world.ask("careless").status_code == 200
