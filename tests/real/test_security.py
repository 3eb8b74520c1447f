"""Who is let in and who is not, on a running mesh; and what of it other users, logs and networks could see."""

import json
import posixpath
import re
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from certmgr.core.bundle import render
from certmgr.core.plan import IdentitySpec
from legation.runtime import binaries
from legation.sidecar.sockets import all_listening, inodes_of
from tests.certmgr.authority import Authority
from tests.support.echo import Echo, added, echo_in
from tests.support.mesh import PLAIN, Mesh, legation, processes_below, wait_for
from tests.support.peer import REFUSED, Peer, peer, peer_of

pytestmark = pytest.mark.timeout(180)

ALLOWED = """
      - service: echo
        allow:
          - {methods: [GET], paths: [/open, /public/*]}
          - {methods: [POST], paths: [/bought]}
"""


@pytest.fixture(scope="module")
def echo(shop_mesh: Mesh) -> Iterator[Echo]:
    """The shop with echo, which web may call within limits."""
    shop_mesh.settle()
    with echo_in(shop_mesh) as echo:
        limited = echo.text().replace("\n      - orders ", f"{ALLOWED}      - orders ", 1)
        assert "/bought" in limited
        shop_mesh.write(limited)
        yield echo


@pytest.fixture
def web(shop: Mesh, tmp_path: Path) -> Peer:
    return peer_of(shop, "web", tmp_path)


def inbound(mesh: Mesh, instance: str) -> str:
    return str(mesh.instance(instance).inbound)


# --- who is let in


def test_caller_not_named_is_denied(shop: Mesh, web: Peer, tmp_path: Path) -> None:
    """A valid certificate of this mesh is not enough: `calls` must name the callee."""
    catalog, payments = inbound(shop, "catalog-v1-0"), inbound(shop, "payments-v1-0")
    assert web.ask(catalog, "GET", "/items").status == 200
    for other in ("payments", "orders", "catalog", "legation-gateway", "legation-xds-server"):
        answer = peer_of(shop, other, tmp_path).ask(catalog, "GET", "/items")
        assert (answer.status, answer.body) == (403, "RBAC: access denied"), other
        assert "x-instance" not in answer.headers, "the app was asked"
    assert web.ask(payments, "POST", "/payments.Payments/Charge").status == 403


def test_allow_limits_methods_and_paths(echo: Echo, shop: Mesh, web: Peer) -> None:
    there = inbound(shop, "echo-v1-0")
    for method, path, status in (
        ("GET", "/open", 200),
        ("GET", "/open?a=query", 200),
        ("GET", "/public/", 200),
        ("GET", "/public/a/b", 200),
        ("POST", "/bought", 200),
        ("GET", "/bought", 403),
        ("POST", "/open", 403),
        ("HEAD", "/open", 403),
        ("GET", "/open/", 403),
        ("GET", "/openly", 403),
        ("GET", "/public", 403),
        ("GET", "/publicly", 403),
        ("GET", "/", 403),
        ("GET", "/?path=/open", 403),
    ):
        assert web.ask(there, method, path).status == status, (method, path)
    catalog = inbound(shop, "catalog-v1-0")
    assert web.ask(catalog, "POST", "/items").status == 403, "the shop's own limit: GET and HEAD"


TRICKS = (
    "/public/../secret",
    "/public/%2e%2e/secret",
    "/public/%2E%2E/secret",
    "/public/.%2e/secret",
    "/public/./../secret",
    "/public/x/../../secret",
    "/public//../../secret",
    "/public/..%2fsecret",
    "/public%2f..%2fsecret",
    "/public/%2e%2e%2fsecret",
    "/public/..%5csecret",
    "/public/..\\secret",
    "/public\\..\\secret",
    "//public/../secret",
    "//secret/public/",
    "/./secret",
    "/%2e/secret",
    "/secret/../secret",
    "/secret;/public/",
    "/secret?/public/",
    "/secret#/public/",
    "/%70ublic/../secret",
    "/PUBLIC/x",
    "/Open",
    "/open%00",
    "/open%3f",
    "/open;x",
    "//open",
    "/open%2f",
    "/public/%252e%252e/secret",
)


def test_no_spelling_of_a_path_gets_past_allow(echo: Echo, shop: Mesh, web: Peer) -> None:
    """Either the app is not asked, or what it is asked for is below /public/ or is /open, however one reads it."""
    there = inbound(shop, "echo-v1-0")
    asked = {}
    for path in TRICKS:
        answer = web.ask(there, "GET", path)
        if "x-instance" in answer.headers:
            asked[path] = json.loads(answer.body)["path"]
        else:
            assert answer.status in {400, 403, 404}, (path, answer)
    for path, seen in asked.items():
        assert allowed(seen), f"{path} came to the app as {seen}"
        assert allowed(posixpath.normpath(unquote(urlsplit(seen).path))), f"{path} came to the app as {seen}"
    assert not {p for p in asked if p.startswith(("//secret", "/secret", "/PUBLIC", "/Open"))}


def allowed(path: str) -> bool:
    return urlsplit(path).path == "/open" or path.startswith("/public/")


def test_attack_22_a_certificate_of_another_authority_is_refused(shop: Mesh, tmp_path: Path) -> None:
    """It says spiffe://shop.local/web; the handshake fails, and Envoy says why."""
    stranger = Authority(time.time()).issue(IdentitySpec("web", "spiffe://shop.local/web", 600))
    forged = peer(tmp_path, root_of(shop), render(stranger))
    before = shop.stat("catalog-v1-0", "listener.inbound.ssl.fail_verify_error")
    with pytest.raises(REFUSED):
        forged.ask(inbound(shop, "catalog-v1-0"), "GET", "/items")
    assert shop.stat("catalog-v1-0", "listener.inbound.ssl.fail_verify_error") == before + 1


def test_no_certificate_is_refused(shop: Mesh, tmp_path: Path) -> None:
    before = shop.stat("catalog-v1-0", "listener.inbound.ssl.fail_verify_no_cert")
    with pytest.raises(REFUSED):
        peer(tmp_path, root_of(shop)).ask(inbound(shop, "catalog-v1-0"), "GET", "/items")
    assert shop.stat("catalog-v1-0", "listener.inbound.ssl.fail_verify_no_cert") == before + 1


def test_tls_below_1_3_is_refused(shop: Mesh, web: Peer) -> None:
    web.context.minimum_version = web.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(REFUSED):
        web.ask(inbound(shop, "catalog-v1-0"), "GET", "/items")


def test_attack_20_plain_http_to_an_inbound_port_is_refused(shop: Mesh) -> None:
    """The connection is closed without an HTTP answer, at every instance."""
    for service in shop.status().services:
        for instance in service.instances:
            host, _, port = instance.inbound.rpartition(":")
            with socket.create_connection((host, int(port)), 10) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                assert not everything(plain).startswith(b"HTTP"), instance.id


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    try:
        while part := connection.recv(4096):
            found += part
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({'"catalog-v1-0"': '"impostor"'}, "its certificate is for spiffe://shop.local/payments"),
        ({'"service": "catalog"': '"service": "payments"'}, "id of an instance of spiffe://shop.local/catalog"),
    ],
    ids=["another service's name", "another service's instance"],
)
def test_a_proxy_cannot_speak_for_another_service(
    shop: Mesh, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    """An Envoy with payments' certificate gets no configuration for catalog, and none of its requests."""
    before = {i: s.inbound for i, s in shop.instances("catalog").items()}
    refusals = shop.log("xds_server").count(reason)
    forged = impostor(shop, tmp_path, changes)
    (tmp_path / "bootstrap.json").write_text(forged)
    argv = [str(binaries.envoy()), "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1"]
    with (tmp_path / "envoy.log").open("wb") as log:
        envoy = subprocess.Popen(argv, cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_for("xds_server refuses it", lambda: shop.log("xds_server").count(reason) > refusals, 30)
        assert {i: s.inbound for i, s in shop.instances("catalog").items()} == before
        assert all(shop.get("/proxy/catalog/items").status_code == 200 for _ in range(10))
    finally:
        envoy.kill()
        envoy.wait()


def impostor(mesh: Mesh, folder: Path, changes: dict[str, str]) -> str:
    """catalog's bootstrap with payments' identity, at an address of its own, as a newer life."""
    text = (mesh.state / "instances" / "catalog-v1-0" / "bootstrap.json").read_text()
    address, _, _ = inbound(mesh, "catalog-v1-0").partition(":")
    boot = re.search(r'"boot": "([^"]+)"', text)
    assert boot is not None
    changes = {
        str(mesh.run / "admin-catalog-v1-0.sock"): str(folder / "admin.sock"),
        "sds-catalog.sock": "sds-payments.sock",
        f'"{address}"': f'"127.{address.split(".")[1]}.199.1"',
        boot[1]: f"f{boot[1][1:]}",
        **changes,
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


# --- headers


def test_forged_headers_do_not_reach_the_app(echo: Echo) -> None:
    """The app learns who called from its own sidecar; what a client says of itself is gone."""
    forged = "URI=spiffe://shop.local/orders;Hash=forged"
    names = ("x-legation-retry", "x-legation-x", "x-envoy-original-path", "x-envoy-internal", "x-envoy-max-retries")
    headers = {"x_forwarded_client_cert": forged, **{n.replace("-", "_"): "forged" for n in names}}
    seen = echo.request("GET", "/", **headers).json()["headers"]
    assert "forged" not in json.dumps(seen)
    assert "spiffe://shop.local/orders" not in json.dumps(seen)
    assert "URI=spiffe://shop.local/legation/gateway" in seen["x-forwarded-client-cert"]


def test_a_peer_cannot_forge_who_it_is(echo: Echo, shop: Mesh, web: Peer) -> None:
    forged = "URI=spiffe://shop.local/orders;Hash=forged"
    answer = web.ask(inbound(shop, "echo-v1-0"), "GET", "/open", x_forwarded_client_cert=forged, x_legation_x="forged")
    seen = json.loads(answer.body)["headers"]
    assert "forged" not in json.dumps(seen)
    assert "URI=spiffe://shop.local/web" in seen["x-forwarded-client-cert"]
    denied = web.ask(
        inbound(shop, "payments-v1-0"), "POST", "/payments.Payments/Status", x_forwarded_client_cert=forged
    )
    assert denied.status == 403


# --- what is open to whom


def test_sockets_are_for_their_owner_alone(shop: Mesh) -> None:
    sockets = list((shop.run).iterdir())
    names = {s.name.partition("-")[0].removesuffix(".sock") for s in sockets}
    assert names - {"root"} == {"admin", "certmgr", "host", "logs", "openbao", "sds", "telemetry", "xds_server"}
    assert ("root" in names) == (shop.run.parent != shop.state), "the file that names whose they are"
    assert stat.S_IMODE((shop.run).stat().st_mode) == 0o700
    assert {
        s.name: oct(stat.S_IMODE(s.stat().st_mode)) for s in sockets if stat.S_IMODE(s.stat().st_mode) != 0o600
    } == {}
    secret = [*shop.state.rglob("*.pem"), *shop.state.rglob("*.key"), *shop.state.rglob("*.json")]
    assert {str(f): oct(f.stat().st_mode) for f in secret if f.stat().st_mode & 0o077} == {}


def test_nothing_listens_beyond_loopback(shop: Mesh) -> None:
    own = inodes_of(processes_below(shop)[0].pid)
    listening = [s for s in all_listening() if s.inode in own]
    assert len(listening) > 30
    assert [s for s in listening if s.exposed] == []


def test_no_admin_interface_is_on_tcp(shop: Mesh) -> None:
    """Every TCP port of every Envoy is asked for what only the admin interface has."""
    envoys = [p for p in processes_below(shop) if p.name() == "envoy"]
    assert len(envoys) >= 7
    ports = [s for envoy in envoys for s in all_listening() if s.inode in inodes_of(envoy.pid)]
    with httpx.Client(trust_env=False, verify=PLAIN, timeout=20) as client:
        for there in ports:
            try:
                answer = client.get(f"http://{there.address}:{there.port}/server_info")
            except httpx.HTTPError:
                continue
            assert "hot_restart_version" not in answer.text, there


def test_the_metrics_listener_serves_two_paths(shop: Mesh) -> None:
    address, _, _ = inbound(shop, "orders-v1-0").partition(":")
    with httpx.Client(base_url=f"http://{address}:15090", trust_env=False, verify=PLAIN, timeout=20) as client:
        for path in ("/stats/prometheus", "/ready"):
            assert client.get(path).status_code == 200
        for path in (
            "/",
            "/stats",
            "/config_dump",
            "/certs",
            "/server_info",
            "/ready/",
            "/stats/prometheus/../../certs",
        ):
            assert client.get(path).status_code == 404, path
        for path in ("/quitquitquit", "/ready", "/stats/prometheus", "/logging?level=trace"):
            assert client.post(path).status_code in {404, 405}, path


# --- an app that is open to all

OPEN_APP = """
import { appendFileSync } from 'node:fs';
import http from 'node:http';
const beat = () => appendFileSync(process.env.BEATS, `${process.pid} ${Date.now()}\\n`);
const server = http.createServer((_req, res) => res.end('open'));
const listening = () => { beat(); setInterval(beat, 10); };
server.listen(process.env.PORT, ...LISTEN, listening);
"""


def test_an_app_that_listens_on_every_address_is_stopped(shop: Mesh, tmp_path: Path) -> None:
    """Node's default. Its heart beats every 10 ms from its bind on, so the file tells how long it lived."""
    beats, app = tmp_path / "beats", shop.folder / "open.js"
    app.write_text(OPEN_APP.replace("...LISTEN, ", ""))
    before, pids = shop.file.read_text(), {i: s.pids for i, s in shop.instances("orders").items()}
    service = "  open: {protocol: http, port: 8080}\n"
    workload = f"  - {{service: open, command: [node, open.js], env: {{BEATS: {beats}}}}}\n"
    try:
        shop.save(added(before, service, workload))
        wait_for("the app is refused", lambda: any("server.listen" in p for p in shop.status().problems), 40)
        refused = wait_for("its sidecar has ended", lambda: ended(shop, "open-v1-0"), 40)
        assert lifetime(beats) < 1.0
        assert "HOST" in refused.problem
        assert re.search(r"listens on (::|0\.0\.0\.0):\d+", refused.problem)
        assert not refused.healthy
        assert refused.restarts == 0
        done = legation("status", "--state", str(shop.state), check=False)
        assert done.returncode == 3
        assert "server.listen" in done.stdout + done.stderr
        assert shop.get("/").status_code == 200
        assert {i: s.pids for i, s in shop.instances("orders").items()} == pids

        app.write_text(OPEN_APP.replace("...LISTEN", "process.env.HOST"))
        assert lifetime(beats) < 1.0, "it was started again as it was"
        shop.write(added(before, service, workload + "# mended\n"))
        assert shop.first("open").healthy
    finally:
        shop.write(before)


def ended(mesh: Mesh, instance: str):
    """Return the status of an instance whose `legation run` is gone."""
    now = mesh.instance(instance)
    return now if now.pids.run is None else None


def lifetime(beats: Path) -> float:
    """Return the seconds from the first beat to the last; all must be of one process. One may end before its first."""
    if not beats.exists():
        return 0.0
    lines = [line.split() for line in beats.read_text().splitlines()]
    assert len({pid for pid, _ in lines}) == 1, "it was started again"
    return (int(lines[-1][1]) - int(lines[0][1])) / 1000


def root_of(mesh: Mesh) -> bytes:
    return (mesh.state / "certmgr" / "root.pem").read_bytes()
