"""Servers that mesh.yaml does not name, through a stock Envoy: out of reach, or by a proxy for who may call them."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from psutil import net_if_addrs

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.runtime.tasks import Latest, until
from legation.sidecar.environment import app_environment
from tests.xds_server.compile.fleet import App, Fleet, address, wait_for
from tests.xds_server.compile.test_external import certificate
from tests.xds_server.serve.envoy import running
from tests.xds_server.serve.world import Consumer
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.serve.server import serve
from xds_server.snapshot import Snapshot

MESH = """
mesh: passing
trust_domain: passing.local
passthrough: true
services:
  web: {protocol: http, port: 8080, calls: [desk]}
  desk: {protocol: http, port: 8080, passthrough: false}
  shop: {protocol: http, port: 80, passthrough: false, calls: [web, desk]}
"""


BLOCKED = "http.blocked.no_route"


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = sorted(h for h in map(str.lower, self.headers) if h.startswith(("x-", "traceparent")))
        body = f"{self.headers['host'].partition(':')[0]} {self.path} {','.join(told)}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def own_address() -> str:
    """An address of this machine that is not loopback: what is on loopback is nobody else's."""
    found = [a.address for of in net_if_addrs().values() for a in of if a.family == socket.AF_INET]
    return next(a for a in found if not a.startswith(("127.", "169.254.")))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(MESH, tmp_path_factory.mktemp("fleet"))
    fleet.add("web")
    app = App(fleet.add("desk").address, "desk")
    fleet.nodes["shop-v1"] = replace(fleet.add("shop"), by_name=True, app_address="localhost")
    with fleet.running():
        yield fleet
    app.stop()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ThreadingHTTPServer]]:
    folder = tmp_path_factory.mktemp("outside")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder), folder / "outside.key")
    found = {name: ThreadingHTTPServer((own_address(), 0), _Server) for name in ("plain", "secure")}
    found["inside"] = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    found["secure"].socket = context.wrap_socket(found["secure"].socket, server_side=True)
    for server in found.values():
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    for server in found.values():
        server.shutdown()
        server.server_close()


def proxy(fleet: Fleet, node: str = "web-v1") -> str:
    """What the app of a node is told."""
    spec = fleet.nodes[node]
    ports = names.outbound_ports(fleet.mesh.mesh.listened(spec.service), {})
    return app_environment({}, replace(spec, outbound_ports=ports)).get("HTTP_PROXY", "")


def ask(fleet: Fleet, url: str, node: str = "web-v1", **headers: str) -> httpx.Response:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(proxy=proxy(fleet, node), verify=unverified, trust_env=False, timeout=20) as client:
        return client.get(url, headers=headers)


def test_an_app_may_call_any_server_where_that_is_asked_for(fleet: Fleet, servers: dict) -> None:
    """In plain text and through a tunnel; what the mesh says in headers stays here, and requests are counted."""
    plain = f"http://{own_address()}:{servers['plain'].server_port}/a?b"
    wait_for(lambda: ask(fleet, plain).status_code == 200)
    before = fleet.stat("web-v1", "http.outbound_legation-passthrough.downstream_rq_2xx")
    answer = ask(fleet, plain, **{"x-legation-retry": "1", "x-envoy-max-retries": "9"})
    assert answer.text.split(" ")[:2] == [own_address(), "/a?b"]
    assert "x-legation" not in answer.text
    assert "x-envoy" not in answer.text
    secure = ask(fleet, f"https://{own_address()}:{servers['secure'].server_port}/c")
    assert (secure.status_code, secure.text.split(" ")[1]) == (200, "/c")
    counted = "http.outbound_legation-passthrough.downstream_rq_2xx"
    wait_for(lambda: fleet.stat("web-v1", counted) == before + 2)
    wait_for(lambda: f'"authority":"{own_address()}:{servers["secure"].server_port}"' in fleet.log("web-v1"))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
def test_what_is_on_this_host_is_not_outside(fleet: Fleet, servers: dict, scheme: str, host: str) -> None:
    """By the address that a name leads to, in whatever spelling; a request that gets through is seen by the server."""
    try:
        status = ask(fleet, f"{scheme}://{host}:{servers['inside'].server_port}/").status_code
    except httpx.ProxyError as refused:
        status = int(str(refused).split(" ")[0])
    assert status in {400, 403, 503}, "denied, or no name at all"


def test_nobody_calls_as_another_proxy(fleet: Fleet) -> None:
    for port in (names.INBOUND_PORT, names.METRICS_PORT, names.OUTBOUND_PORT_BASE):
        assert ask(fleet, f"http://{own_address()}:{port}/").status_code == 403


def test_without_it_there_is_no_way_to_a_server_that_is_not_named(fleet: Fleet, servers: dict) -> None:
    """By its proxy, which says what to write instead; who asks, and how often, is counted."""
    snapshot = fleet.compiler.snapshot(fleet.nodes["desk-v1"], {})
    assert not [n for kind in (kinds.CLUSTER, kinds.ROUTE) for n in snapshot.of_type(kind) if names.PASSTHROUGH in n]
    url = f"http://{own_address()}:{servers['plain'].server_port}/a"
    wait_for(lambda: ask(fleet, url, "desk-v1").status_code == 403)
    before = fleet.stat("desk-v1", BLOCKED)
    answer = ask(fleet, url, "desk-v1", host="desk")
    assert (answer.status_code, "name it in external" in answer.text) == (403, True)
    with pytest.raises(httpx.ProxyError, match="403"):
        ask(fleet, f"https://{own_address()}:{servers['secure'].server_port}/b", "desk-v1")
    wait_for(lambda: fleet.stat("desk-v1", BLOCKED) == before + 2)
    wait_for(lambda: f'"authority":"{own_address()}:{servers["secure"].server_port}"' in fleet.log("desk-v1"))
    assert fleet.stat("web-v1", BLOCKED) == 0, "of whoever may, none is blocked"


def test_a_change_of_passthrough_is_live_on_the_port_that_the_app_knows(tmp_path: Path, servers: dict) -> None:
    """One Envoy over ADS, which is told of another mesh.yaml: nobody is started again."""
    node = InstanceSpec("desk-v1", "desk", "v1", "1", address(30), app_address=address(30), app_port=1)
    url = f"http://{own_address()}:{servers['plain'].server_port}/a"

    def snapshot(passes: bool) -> Snapshot:
        text = MESH.replace("passthrough: false", f"passthrough: {passes}".lower(), 1)
        found = Compiler(load(text, "mesh.yaml")).snapshot(node, {})
        given = (kinds.CLUSTER, kinds.LISTENER, kinds.ROUTE)
        resources = [r for kind in given for r in found.of_type(kind).values()]
        return Snapshot.of(r for r in resources if r.name != names.INBOUND)  # which waits for a certificate

    async def status() -> int | None:
        proxy = f"http://{node.own_address}:{names.OUTBOUND_PORT_BASE}"
        async with httpx.AsyncClient(proxy=proxy, trust_env=False, timeout=20) as client:
            try:
                return (await client.get(url)).status_code
            except httpx.TransportError:
                return None

    async def main() -> None:
        consumer = Consumer(Latest(snapshot(passes=False)))
        async with serve(consumer, address=tmp_path / "xds.sock"), running(tmp_path):
            for passes, expected in ((False, 403), (True, 200), (False, 403)):
                consumer.snapshots.set(snapshot(passes))

                async def answers(expected: int = expected) -> bool:
                    return await status() == expected

                assert await until(answers, 20), (tmp_path / "envoy.log").read_text()[-2000:]

    asyncio.run(main())


def test_a_name_that_nobody_has_in_a_container_is_refused_and_counted(fleet: Fleet) -> None:
    """Where several services are called at one port, each by its name."""
    url, blocked = f"http://{fleet.nodes['shop-v1'].own_address}:8080/", "http.outbound_.*8080.no_route"
    wait_for(lambda: httpx.get(url, headers={"host": "desk"}, timeout=20).status_code == 200)
    before = fleet.stat("shop-v1", blocked)
    answer = httpx.get(url, headers={"host": "example.com"}, timeout=20)
    assert (answer.status_code, answer.text) == (404, "no service has this host here\n")
    wait_for(lambda: fleet.stat("shop-v1", blocked) == before + 1)


def test_what_is_named_is_called_as_before(fleet: Fleet) -> None:
    wait_for(lambda: httpx.get(f"http://{fleet.outbound('web-v1', 'desk')}/", timeout=20).status_code == 200)
