"""A mesh over two hosts: its requests, and the control API between them, which is mTLS and knows who asks."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from certmgr.core.rollover import waits_for
from legation.mesh import names
from legation.runtime import http
from legation.runtime.control import guard
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.contexts import to_component, to_xds_server
from legation.runtime.control.messages import (
    Identity,
    InstanceList,
    MeshDocument,
    RevokeReport,
    RevokeRequest,
    TelemetryStatus,
)
from legation.runtime.control.mtls import Peer
from legation.runtime.control.rollover_messages import RolloverView
from telemetry.doctor.hop import counted
from telemetry.rules.conventions import SERVICE_INFO
from tests.certmgr.host import presented
from tests.certmgr.team import team
from tests.hosts.two import MESH, Host, Two, apply, two
from tests.support.load import Mixed, Request
from tests.support.mesh import LEGATION, PLAIN, ROOT, wait_for
from tests.support.steady import Steady

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory) -> Iterator[Two]:
    with two(tmp_path_factory.mktemp("two")) as made:
        try:
            wait_for("a request passes from host to host", lambda: answer(made) == (200, "orders"), 60)
        except AssertionError as error:
            logs = [made.first.log("xds_server"), made.first.log("web"), made.second.log("orders")]
            raise AssertionError("\n".join([str(error), *logs, made.second.log("certmgr")])) from None
        yield made


def answer(mesh: Two) -> tuple[int, str]:
    try:
        got = httpx.get(mesh.url(), trust_env=False, verify=PLAIN, timeout=5)
    except (httpx.HTTPError, AssertionError):
        return 0, ""
    return got.status_code, got.text


def address_of(mesh: Two, host: Host, name: str) -> http.Secure:
    """The control API as whoever has an identity of a host reaches it."""
    identity = asyncio.run(presented(host.state.sds(name)))
    return to_xds_server(mesh.xds, lambda: identity)


def ask(address: http.Secure, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    got = asyncio.run(http.request(address, method, path, body=body, limit=10))
    return got.status, got.text


def instances(mesh: Two) -> dict[str, str]:
    client = ControlClient(mesh.first.state.control("xds_server"))
    return {i.id: i.state for i in asyncio.run(client.get("/instances", InstanceList)).instances}


def certmgr(host: Host, method: str, path: str, body, kind):
    return asyncio.run(ControlClient(host.state.control("certmgr")).send(method, path, body, kind, limit=60))


def test_a_host_holds_no_more_identities_than_it_needs(mesh: Two) -> None:
    found = {path.stem for path in (mesh.second.state.certmgr / "identities").glob("*.pem")}
    assert found == {"orders", "legation-certmgr", "legation-telemetry"}


def test_a_service_speaks_for_itself_alone(mesh: Two) -> None:
    orders = address_of(mesh, mesh.second, "orders")
    said = json.dumps({"boot": "x"}).encode()
    plan = {"xds_host": "x", "xds_port": 0, "sds_socket": "/s", "admin_socket": "/a"}
    spec = {"id": "x", "version": "v1", "boot": "1", "address": "127.0.0.1"}

    def planned(service: str) -> bytes:
        return json.dumps({**plan, "spec": {**spec, "service": service}}).encode()

    for method, path, body, status in (
        ("POST", "/sidecars", planned("orders"), 200),
        ("POST", "/sidecars", planned("web"), 403),
        ("POST", "/sidecars", planned("legation-gateway"), 403),
        ("POST", "/sidecars", b"{", 400),
        ("POST", "/instances/web/withdraw", said, 403),
        ("POST", "/instances/orders/withdraw", said, 404),
        ("POST", "/instances/nobody/ready", said, 404),
        ("PUT", "/mesh", b"{}", 403),
        ("GET", "/mesh", b"", 403),
        ("GET", "/instances", b"", 403),
        ("GET", "/instances/watch", b"", 403),
        ("PUT", "/revoked", b'{"serials": []}', 403),
        ("GET", "/status", b"", 403),
        ("GET", "/services/web/unsynced", b"", 403),
        ("GET", "/nothing", b"", 404),
    ):
        assert ask(orders, method, path, body)[0] == status, (method, path)
    assert instances(mesh) == {"web": "ready", "orders": "ready"}
    assert (
        "spiffe://shop.local/orders does not speak for spiffe://shop.local/web"
        in ask(orders, "POST", "/instances/web/withdraw", said)[1]
    )


def test_certmgr_follows_the_mesh_and_may_do_nothing_else(mesh: Two) -> None:
    there = address_of(mesh, mesh.second, "legation-certmgr")
    assert ask(there, "GET", "/mesh")[0] == 200
    for method, path in (("PUT", "/mesh"), ("POST", "/sidecars"), ("POST", "/instances/web/withdraw")):
        assert ask(there, method, path, b"{}")[0] == 403, (method, path)


def test_a_long_body_and_a_silent_connection_are_bounded(mesh: Two) -> None:
    orders = address_of(mesh, mesh.second, "orders")
    with contextlib.suppress(http.HttpError):  # it may be closed on us before we have read the answer
        assert ask(orders, "POST", "/sidecars", b" " * (guard.BODY_LIMIT + 1))[0] == 413
    with socket.create_connection((orders.host, orders.port), timeout=20) as plain:
        assert plain.recv(1) == b"", "no handshake, so it is closed"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_without_a_certificate_or_below_tls_1_3_nobody_gets_in(mesh: Two, version: ssl.TLSVersion) -> None:
    orders = address_of(mesh, mesh.second, "orders")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    nobody = http.Secure(orders.host, orders.port, lambda: context, lambda _: None)
    with pytest.raises(http.HttpError):
        ask(nobody, "GET", "/mesh")


def telemetry_as(mesh: Two, name: str, at: str) -> http.Secure:
    """A telemetry as whoever has an identity of the second host reaches it."""
    identity = asyncio.run(presented(mesh.second.state.sds(name)))
    return to_component(names.TELEMETRY, at, lambda: identity)


@pytest.fixture(scope="module")
def telemetry(mesh: Two) -> Iterator[str]:
    """Telemetry on both hosts, and where the first one is reached by others."""
    with mesh.telemetry() as at:
        yield at


def test_the_log_of_a_host_is_found_on_the_first(mesh: Two, telemetry: str) -> None:
    """What its proxy and its app say of a request; over mTLS, which takes no other for a telemetry."""

    def found(host: Host) -> set[tuple[str, str]]:
        words = ("logs", "--state", str(host.state.root), "-o", "json")
        done = subprocess.run([*LEGATION, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        records = json.loads(done.stdout)["records"] if done.returncode == 0 else []
        return {(r["instance"], r["kind"]) for r in records}

    def all_of(host: Host, instances: set[str]) -> bool:
        assert answer(mesh) == (200, "orders")
        return found(host) >= {(instance, kind) for instance in instances for kind in ("access", "app")}

    wait_for("the second host has its own", lambda: all_of(mesh.second, {"orders"}), 40)
    wait_for("the first has them too", lambda: all_of(mesh.first, {"orders"}), 40)
    assert {instance for instance, _ in found(mesh.second)} == {"orders"}
    assert ask(telemetry_as(mesh, "orders", telemetry), "POST", "/v1/logs", b"")[0] == 403
    orders = asyncio.run(presented(mesh.second.state.sds("orders")))
    with pytest.raises(http.HttpError, match=r"and not .*/legation/xds-server"):
        ask(to_xds_server(telemetry, lambda: orders), "POST", "/v1/logs")


def test_a_prometheus_on_one_host_gets_the_metrics_of_both(mesh: Two, telemetry: str) -> None:
    """Each sidecar is a target, and each service of ours; those of another host through both telemetries."""
    client = ControlClient(mesh.first.state.control("telemetry"))
    status = asyncio.run(client.get("/status", TelemetryStatus))
    listed = httpx.get(status.discovery_url, trust_env=False, verify=PLAIN).json()
    targets = {one["labels"]["instance"]: (one["targets"][0], one["labels"]["__metrics_path__"]) for one in listed}
    theirs = {name: f"{name}@{mesh.second.address}" for name in ("certmgr", "telemetry")}
    assert set(targets) == {"web", "orders", *theirs, *theirs.values()}

    def scraped(instance: str) -> str:
        at, path = targets[instance]
        return httpx.get(f"http://{at}{path}", trust_env=False, verify=PLAIN).raise_for_status().text

    assert answer(mesh) == (200, "orders")
    for instance, prefix in (("web", "outbound_orders"), ("orders", "inbound")):
        assert counted(scraped(instance), "envoy_http_downstream_rq_xx", f'prefix="{prefix}"'), instance
    assert "certmgr_vault_up 1" in scraped(theirs["certmgr"])
    said = scraped(theirs["telemetry"])
    assert 'telemetry_watch_connected{watch="mesh"} 1' in said
    assert SERVICE_INFO in scraped("telemetry")
    assert SERVICE_INFO not in said, "what is the mesh's is the same on each host, and is counted once"
    at = f"{mesh.second.address}:15081"
    for name, path, status_code in (
        ("orders", "/instances/orders/metrics", 403),
        ("legation-telemetry", "/instances/orders/metrics", 200),
        ("legation-telemetry", "/instances/web/metrics", 404),  # no way on to a third host
        ("legation-telemetry", "/instances/nobody/metrics", 404),
        ("orders", f"/instances/{theirs['certmgr']}/metrics", 403),
        ("legation-telemetry", f"/instances/{theirs['certmgr']}/metrics", 200),
        ("legation-telemetry", f"/instances/certmgr@{mesh.first.address}/metrics", 404),
        ("legation-telemetry", f"/instances/xds_server@{mesh.second.address}/metrics", 404),
    ):
        assert ask(telemetry_as(mesh, name, at), "GET", path)[0] == status_code, (name, path)


def test_a_revoked_certificate_of_telemetry_is_no_good_on_any_host(mesh: Two, telemetry: str) -> None:
    stolen = asyncio.run(presented(mesh.second.state.sds("legation-telemetry")))
    there = to_component(names.TELEMETRY, telemetry, lambda: stolen)
    assert ask(there, "POST", "/v1/logs")[0] == 200
    wish = RevokeRequest(identity="legation-telemetry", by="test", wait=5)
    certmgr(mesh.second, "POST", "/revoke", wish, RevokeReport)
    refused = (403, f"certificate {stolen.serial} is revoked\n")
    wait_for("the first host refuses it", lambda: ask(there, "POST", "/v1/logs") == refused, 30)
    assert ask(telemetry_as(mesh, "legation-telemetry", telemetry), "POST", "/v1/logs")[0] == 200


def test_a_client_takes_no_other_server_than_xds_server(mesh: Two) -> None:
    """Its certificate is of the mesh's CA, and it is a service: orders' own inbound port."""
    orders = asyncio.run(presented(mesh.second.state.sds("orders")))
    there = to_xds_server(f"{mesh.second.address}:15006", lambda: orders)
    with pytest.raises(http.HttpError, match=r"is spiffe://shop\.local/orders, and not .*/legation/xds-server"):
        ask(there, "GET", "/mesh")


def test_a_rotation_of_the_servers_certificate_drops_no_watch(mesh: Two) -> None:
    there = address_of(mesh, mesh.second, "legation-certmgr")

    async def shown() -> str:
        _, writer = await asyncio.open_connection(there.host, there.port, ssl=there.context())
        serial = Peer.of(writer.get_extra_info("ssl_object")).serial
        writer.close()
        return serial

    async def scene() -> None:
        events = ControlClient(there).watch("/mesh/watch", MeshDocument)
        assert (await anext(events)).text == MESH
        before = await shown()
        renewing = ControlClient(mesh.first.state.control("certmgr"))
        path = "/identities/legation-xds-server/renew"
        after = await renewing.send("POST", path, None, Identity, limit=60)
        await eventually(lambda: _is(shown, after.serial))
        assert before != after.serial
        await asyncio.to_thread(apply, mesh.first, MESH + "  mail: {protocol: http, port: 80}\n")
        async with asyncio.timeout(20):
            assert "mail" in (await anext(events)).text, "on the stream that was open before"
        await events.aclose()  # type: ignore[attr-defined]

    try:
        asyncio.run(scene())
    finally:
        apply(mesh.first, MESH)


async def _is(ask: Callable[[], Awaitable[str | None]], value: str | None) -> bool:
    return await ask() == value


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    from legation.runtime.tasks import until

    assert await until(condition, 20)


def test_attack_33_root_rolls_over_under_load_and_waits_for_a_host_that_is_away(mesh: Two, tmp_path: Path) -> None:
    """It is named, nothing is issued by the new root before it is back, and no request fails from first to last."""
    away = next(process for process in mesh.second.running if "certmgr" in process.args)  # type: ignore[operator]
    steady = Steady(mesh.url(), Mixed((Request(),)))
    steady.start()
    before = roots(mesh)
    try:
        with steady.window("root roll-over over two hosts") as window:
            away.kill()
            away.wait()
            order = roll_over(mesh, tmp_path, "start", "--settle", "1s", "--wait")
            wait_for("the host that is away is named", lambda: only_the_second(waits(mesh, "trust")), 30)
            steady.load_for(1)
            assert only_the_second(waits(mesh, "trust")), "it still waits"
            mesh.join()
            assert order.wait(60) == 0, (tmp_path / "rollover.log").read_text()
            window.fault(lambda: None)
    finally:
        rest = steady.stop()
    assert window.failures == (), window.summary()
    assert window.kept_its_rate, window.summary()
    assert rest.failures == (), rest.summary()
    after = roots(mesh)
    assert len(before) == len(after) == 1
    assert before != after
    assert instances(mesh) == {"web": "ready", "orders": "ready"}


def roots(mesh: Two) -> set[bytes]:
    """What the proxies of both hosts check their peers by."""
    where = (mesh.first.state.sds("web"), mesh.second.state.sds("orders"))
    return {asyncio.run(presented(socket)).trust_bundle for socket in where}


def roll_over(mesh: Two, folder: Path, *words: str, host: Host | None = None) -> "subprocess.Popen[bytes]":
    """Give the order on a host, the first if no other is named, as an operator does."""
    host = host or mesh.first
    there = ("--vault", mesh.vault.url, "--vault-ca", str(mesh.vault.ca), "-f", str(mesh.vault.folder / "mesh.yaml"))
    argv = [*host.prefix, *LEGATION, "certs", "rollover", *words, *there, "--state", str(host.state.root)]
    with (folder / "rollover.log").open("ab") as log:
        env = {**os.environ, "VAULT_TOKEN": mesh.vault.operator()}
        return subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT, env=env)


def waits(mesh: Two, phase: str) -> tuple[str, ...]:
    """Whom a roll-over waits for, while it is at a phase."""
    client = ControlClient(mesh.first.state.control("xds_server"))
    standing = asyncio.run(client.get("/rollover", RolloverView)).standing
    here = standing.rollover is not None and standing.rollover.phase == phase
    return waits_for(standing, time.time()) if here else ()


def only_the_second(waiting: tuple[str, ...]) -> bool:
    named = [who for who in waiting if who.startswith("host second-")]
    return bool(named) and all(who in named or who.startswith("orders: ") for who in waiting)


def test_each_host_looks_at_what_its_own_proxies_show_on_the_wire(mesh: Two) -> None:
    for host in (mesh.first, mesh.second):

        def seen(host: Host = host) -> bool:
            answer = asyncio.run(http.request(host.state.control("certmgr"), "GET", "/metrics", limit=10)).text
            samples = dict(line.rsplit(" ", 1) for line in answer.splitlines() if line.startswith("certmgr_wire"))
            wrong = [value for name, value in samples.items() if name.startswith("certmgr_wire_wrong")]
            return float(samples['certmgr_wire_looks_total{outcome="right"}']) >= 1 and set(wrong) == {"0.0"}

        wait_for(f"the proxy of {host.name} shows what it should", seen, 30)


def test_what_another_host_revokes_is_cut_off_here(mesh: Two) -> None:
    """orders is shut out by its own host's certmgr: it is no endpoint any more, and may ask for nothing."""
    orders = address_of(mesh, mesh.second, "orders")
    wish = RevokeRequest(identity="orders", shut_out=True, by="test", wait=5)
    wait_for("it is an endpoint", lambda: instances(mesh) == {"orders": "ready", "web": "ready"}, 30)
    try:
        done = certmgr(mesh.second, "POST", "/revoke", wish, RevokeReport)
        assert done.withdrawn == ("orders",)
        assert done.unsynced == ()
        assert instances(mesh) == {"web": "ready"}
        assert ask(orders, "POST", "/instances/orders/ready", b'{"boot": "x"}')[0] == 403
        assert answer(mesh)[0] != 200
    finally:
        certmgr(mesh.second, "POST", "/identities/orders/renew", None, Identity)
    wait_for("it is back with another certificate", lambda: answer(mesh) == (200, "orders"), 30)


def test_a_roll_over_to_another_vault_waits_until_the_second_host_has_joined(mesh: Two, tmp_path: Path) -> None:
    """Its operator is told what to give there; then both hosts have their certificates from the other Vault."""
    with team(tmp_path, mesh.first.address) as vault:
        before = roots(mesh)
        other = Two(mesh.first, mesh.second, vault)
        (tmp_path / "mesh.yaml").write_text(MESH)
        order = roll_over(other, tmp_path, "start", "--what", "vault", "--settle", "1s", "--wait")
        told = f"has nothing to log in to {vault.url} with: legation certs rollover join --vault {vault.url}, on it"
        wait_for("the second host is waited for", lambda: any(told in who for who in waits(mesh, "trust")), 60)
        named = [who for who in waits(mesh, "trust") if told in who]
        assert [who for who in named if not who.startswith("host second-")] == []
        assert answer(mesh) == (200, "orders")
        joined = roll_over(other, tmp_path, "join", host=mesh.second)
        assert joined.wait(30) == 0, (tmp_path / "rollover.log").read_text()
        assert order.wait(60) == 0, (tmp_path / "rollover.log").read_text()
        after = roots(mesh)
        assert (len(before), len(after)) == (1, 1)
        assert before != after
        assert answer(mesh) == (200, "orders")
        again = certmgr(mesh.second, "POST", "/identities/orders/renew", None, Identity)
        assert again.error is None, "from the other Vault, by a credential of its own"


def test_an_instance_ends_in_order_from_its_own_host(mesh: Two) -> None:
    """The last of this file: it is withdrawn over mTLS before it drains."""
    process = next(p for p in mesh.second.running if "--service" in p.args)  # type: ignore[operator]
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    assert "could not withdraw" not in mesh.second.log("orders")
    log = mesh.first.log("xds_server")
    assert '"instance": "orders", "state": "draining"' in log
    with pytest.raises(ControlError):
        asyncio.run(ControlClient(mesh.first.state.control("xds_server")).get("/nothing", InstanceList))
