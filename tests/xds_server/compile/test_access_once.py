"""Who may do everything is decided once a connection; everybody else at each request, as if that were not."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from legation.mesh.load import load
from tests.support.envoys import VERSIONS, envoy
from tests.xds_server.compile.fleet import App, Fleet
from tests.xds_server.compile.test_older import node
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.compile.access_once import ACCESS, DECIDES, KEEPS, RBAC
from xds_server.compile.older import ACCESS_ONCE, lacking

MESH = """
mesh: once
trust_domain: once.local
metrics: {profile: full}
mtls: permissive
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  other: {protocol: http, port: 8080, calls: [standby]}
  desk: {protocol: http, port: 8080, calls: [{service: orders, allow: [{methods: [GET], paths: [/a]}]}]}
  stranger: {protocol: http, port: 8080}
  orders: {protocol: http, port: 8080, failover: standby, routes: [{match: {path: /chat}, websocket: true}]}
  standby: {protocol: http, port: 8080}
  team:
    protocol: http
    port: 8080
    calls:
      - service: files
        allow: [{methods: [GET, POST], paths: [/a, /b/*], headers: {x-team: {prefix: pay}, x-test: {present: false}}}]
  reader: {protocol: http, port: 8080, calls: [{service: files, allow: [{methods: [GET]}]}]}
  files: {protocol: http, port: 8080}
"""
JWT = ", jwt: {issuer: 'https://a.b', jwks_uri: 'http://a.b/', claim_to_headers: {x-user: sub}}"
UPGRADE = {"connection": "upgrade", "upgrade": "websocket"}
OF_STATE = ("everything", "legation.allowed", "x-legation-allowed", "x-envoy-rbac", "shadow_engine_result")


class World:
    def __init__(self, folder: Path, version: str, more: tuple[str, ...] = ()) -> None:
        major, minor, _ = map(int, version.split("."))
        lacks = (*lacking((major, minor), ()), *more)
        lacks += ("http1_lines",) if version == "1.38.3" else ()
        self.fleet = Fleet(MESH, folder, program=envoy(version), lacks=lacks)
        self.once = ACCESS_ONCE.name not in lacks
        self.nodes = {name: self.fleet.add(name) for name in ("orders", "standby", "files")}
        self.apps = {name: App(at.address, name) for name, at in self.nodes.items()}

    def context(self, *identities: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        shown = [i if "/" in i else f"spiffe://once.local/{i}" for i in identities]
        folder = self.fleet.authority.issue_for(shown, self.fleet.folder / "_".join(identities).replace("/", "."))
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return context

    def client(self, *identities: str, to: str = "orders", http2: bool = False) -> httpx.Client:
        url = f"https://{self.nodes[to].address}:{self.nodes[to].port}"
        return httpx.Client(verify=self.context(*identities), base_url=url, http1=not http2, http2=http2, timeout=10)

    def decided(self, service: str = "orders") -> int:
        """How many requests were let in by the filter of requests."""
        return self.fleet.stat(f"{service}-v1", r"http\.inbound\.rbac\.allowed")

    def denied(self) -> int:
        return self.fleet.stat("orders-v1", r"http\.inbound\.rbac\.denied")


@pytest.fixture(scope="module", params=VERSIONS)
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    this = World(tmp_path_factory.mktemp("once"), request.param)
    try:
        with this.fleet.running():
            yield this
    finally:
        for app in this.apps.values():
            app.stop()


@pytest.mark.parametrize("http2", [False, True])
def test_who_may_do_everything_is_decided_once_a_connection(world: World, http2: bool) -> None:
    before = world.decided()
    with world.client("web", http2=http2) as client:
        assert [client.get("/").status_code for _ in range(3)] == [200] * 3
        assert client.post("/b", headers=dict.fromkeys(OF_STATE, "denied")).status_code == 200
    assert world.decided() == before + (0 if world.once else 4)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("who", ["stranger", "orders", "web2", "we", "spiffe://other.local/web", "spiffe://once.local/web/x",
                                 "spiffe://once.local/"])  # fmt: skip
def test_nobody_else_gets_in(world: World, who: str, http2: bool) -> None:
    """By the same answer, counter and number of tries as ever, whatever a request says and how often it is sent."""
    world.apps["orders"].reset()
    before = world.denied()
    with world.client(who, http2=http2) as client:
        asked = [client.get("/"), client.get("/a"), client.post("/", headers=dict.fromkeys(OF_STATE, "allowed"))]
    assert [(one.status_code, one.text) for one in asked] == [(403, "RBAC: access denied")] * 3
    assert (world.denied(), world.apps["orders"].seen) == (before + 3, [])


@pytest.mark.parametrize(
    ("names", "status"),
    [(("web", "stranger"), 200), (("stranger", "web"), 200), (("stranger", "orders"), 403), ((), 403),
     (("spiffe://once.local/stranger,spiffe://once.local/web",), 403)],
)  # fmt: skip
def test_names_of_a_certificate_are_read_as_at_each_request(world: World, names: tuple[str, ...], status: int) -> None:
    """One of several is enough, as Envoy has it; the mesh's CA signs one. None is nobody's."""
    with world.client(*names) as client:
        assert [client.get("/").status_code for _ in range(2)] == [status] * 2


def test_who_may_do_some_things_is_held_to_them(world: World) -> None:
    before = world.decided()
    with world.client("desk") as client:
        asked = [("GET", "/a", 200), ("POST", "/a", 403), ("GET", "/b", 403), ("GET", "/a", 200), ("GET", "/chat", 403)]
        for method, path, status in asked:
            assert client.request(method, path).status_code == status, (method, path)
    assert world.decided() == before + (0 if world.once else 2)


@pytest.mark.parametrize(("who", "status"), [("web", 200), ("stranger", 403), ("desk", 403)])
def test_a_websocket_is_no_way_in(world: World, who: str, status: int) -> None:
    """Envoy makes the filters of an upgrade apart."""
    with world.client(who) as client:
        assert client.get("/chat", headers=UPGRADE).status_code == status


def test_who_calls_another_may_call_who_stands_in_for_it(world: World) -> None:
    for who, statuses in {"web": (200, 200), "other": (403, 200), "stranger": (403, 403)}.items():
        for to, status in zip(("orders", "standby"), statuses, strict=True):
            with world.client(who, to=to) as client:
                assert client.get("/").status_code == status, (who, to)


@pytest.mark.parametrize("who", ["web", "stranger"])
@pytest.mark.parametrize(
    ("request_", "refused"),
    [("TRACE / HTTP/1.1\r\nHost: a", {"web": 405, "stranger": 403}),
     ("GET / HTTP/1.1\r\nHost: a\r\nHost: b", {"web": 400, "stranger": 403}),
     ("GET / HTTP/1.1\r\nHost: a@b", {"web": 400, "stranger": 403})],
)  # fmt: skip
def test_what_no_proxy_passes_on_is_refused_alike(world: World, request_: str, refused: dict, who: str) -> None:
    at = world.nodes["orders"]
    raw = socket.create_connection((at.address, at.port), timeout=10)
    with closing(world.context(who).wrap_socket(raw)) as connection:
        connection.sendall(f"{request_}\r\nConnection: close\r\n\r\n".encode())
        assert int(connection.recv(65536).split()[1]) == refused[who]


def test_plain_text_is_nobodys(world: World) -> None:
    """It is let in, where it is, as it ever was: past no filter."""
    at = world.nodes["orders"]
    before = world.decided(), world.denied()
    assert httpx.get(f"http://{at.address}:{at.port}/").status_code == 200
    assert (world.decided(), world.denied()) == before


def test_connections_do_not_share_what_is_decided(world: World) -> None:
    with world.client("web", http2=True) as web, world.client("stranger", http2=True) as stranger:
        for _ in range(3):
            assert (web.get("/").status_code, stranger.get("/").status_code) == (200, 403)


# --- what is written


def inbound(text: str, name: str, lacks: tuple[str, ...] = ()) -> tuple[Listener, RouteConfiguration]:
    snapshot = Compiler(load(text, "mesh.yaml")).snapshot(node(name, lacks), {})
    listener = b"".join(snapshot.of_type(kinds.LISTENER)["inbound"].parts)
    routes = b"".join(snapshot.of_type(kinds.ROUTE)["inbound"].parts)
    return Listener.FromString(listener), RouteConfiguration.FromString(routes)


def test_an_envoy_that_lacks_it_has_a_filter_that_no_route_turns_off() -> None:
    known, routes = inbound(MESH, "orders")
    assert all(name in str(known) for name in (ACCESS, DECIDES, KEEPS))
    older, same = inbound(MESH, "orders", (ACCESS_ONCE.name,))
    assert not any(name in str(older) for name in (ACCESS, DECIDES, KEEPS))
    assert RBAC in str(older)
    assert same == routes
    assert {name for host in routes.virtual_hosts for row in host.routes for name in row.typed_per_filter_config} == {
        ACCESS
    }


def test_who_does_not_say_its_version_lacks_it() -> None:
    assert ACCESS_ONCE.name in lacking(None, ())


@pytest.mark.parametrize(
    "change",
    [lambda text: text.replace("  orders: {", "  orders: {access: {mode: shadow}, "),
     lambda text: text.replace("calls: [orders]", "calls: []").replace("methods: [GET], paths: [/a]", "claims: {a: b}")
     .replace("  orders: {", f"  orders: {{{JWT[2:]}, ")],
)  # fmt: skip
def test_where_nobody_is_decided_once_no_route_turns_the_filter_off(change: Callable[[str], str]) -> None:
    listener, routes = inbound(change(MESH), "orders")
    assert not any(name in f"{listener}{routes}" for name in (ACCESS, DECIDES, KEEPS))
    assert RBAC in str(listener)


def test_only_rows_that_ask_for_the_state_turn_it_off() -> None:
    _, routes = inbound(MESH, "orders")
    rows = [row for host in routes.virtual_hosts for row in host.routes]
    assert any(ACCESS in row.typed_per_filter_config for row in rows)
    for row in rows:
        assert (ACCESS in row.typed_per_filter_config) == bool(row.match.filter_state)
    assert not routes.typed_per_filter_config
    assert not any(host.typed_per_filter_config for host in routes.virtual_hosts)
