"""What users see when something dies, hangs, is renewed, replaced or restarted, under load: nothing.

One steady load of 200 requests a second over 50 connections, half of them fresh, runs through all
faults, by a client that repeats nothing; each fault has its window of it. Each line that a test prints is
its evidence. The same faults with every retry of the mesh turned off are the second half.
"""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certmgr.team import team
from tests.support.echo import answers, echo_in
from tests.support.envoys import VERSIONS, installed, programs
from tests.support.kill import kill, kill_one
from tests.support.load import Load, Mixed, Report, Request
from tests.support.mesh import PLAIN, Mesh, legation, running, wait_for
from tests.support.shown import issuers, roots, serial, serial_on_the_wire
from tests.support.steady import CONNECTIONS, Steady, Window

SITE = "site"
"""Where packages are looked for first: another Envoy, once it is there."""
ORDER = Request("POST", "/orders", b'{"item": "tea", "quantity": 1}', {"content-type": "application/json"})
QUICK = Request("GET", "/proxy/orders/healthz")
MIX = Mixed((QUICK, QUICK, QUICK, ORDER, QUICK, QUICK, QUICK, QUICK, Request(), QUICK))
"""Every request passes through gateway, web and orders; one in five through all services, one in ten is a POST."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=["retries", "no retries"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, Steady]]:
    """A shop of its own, as faults change its instances' ids, and the load on it."""
    change = without_retries if request.param == "no retries" else str
    with pytest.MonkeyPatch.context() as environment:
        folder = Path(tmp_path_factory.mktemp("faults"))
        environment.setenv("TELEMETRY_AUTOSCALE_INTERVAL", "2")
        environment.setenv("PYTHONPATH", str(folder / SITE), prepend=os.pathsep)
        yield from under_load(folder, change)


def under_load(folder: Path, change: Callable[[str], str]) -> Iterator[tuple[Mesh, Steady]]:
    with running(folder, change=change) as shop:
        steady = Steady(shop.gateway, MIX)
        steady.start()
        yield shop, steady
        rest = steady.stop()
        assert not rest.failures, f"failed after the last fault:\n{rest.summary()}"


@pytest.fixture
def shop(loaded: tuple[Mesh, Steady]) -> Mesh:
    loaded[0].settle()
    return loaded[0]


@pytest.fixture
def steady(loaded: tuple[Mesh, Steady]) -> Steady:
    return loaded[1]


@pytest.fixture
def retries() -> None:
    """Mark a fault that loses what is sent in the moment of it, where the mesh may not try again: not run without."""


@pytest.fixture
def no_retries() -> None:
    """Mark what may lose nothing even without retries: run where none could hide a loss, and not again with them."""


def without_retries(text: str) -> str:
    """The shop's mesh.yaml with every retry turned off, those that are always safe included."""
    off = "retry: {num_retries: 0}"
    text = re.sub(r"retry: \{retry_on.*\}", off, text)
    text = text.replace("split: {v2: 100}", "split: {v2: 100}\n        " + off)
    text = re.sub(r"split: \{v1: 90, v2: 10\}", "split: {v1: 90, v2: 10}\n        " + off, text)
    text = text.replace("    expose: {port: 8080}", f"    routes: [{{{off}}}]\n    expose: {{port: 8080}}")
    text = text.replace("    health_check: {}", f"    routes: [{{{off}}}]\n    health_check: {{}}")
    assert text.count("num_retries: 0") == 5
    return text


def nothing_lost(window: Window) -> None:
    assert window.failures == (), window.summary()
    assert window.kept_its_rate, window.summary()


def only_in_flight(window: Window) -> None:
    """A dead process loses what it had in flight, which is counted apart and printed, and nothing else."""
    assert window.lost_otherwise == (), window.summary()
    assert len(window.failures) <= CONNECTIONS, window.summary()


def replaced(shop: Mesh, service: str, before: Any) -> None:
    """Wait until an instance is replaced by another life of it, or by a successor."""
    wait_for(f"a successor of {before.id}", lambda: before.pids.run not in runs(shop, service), 60)
    shop.settle()


def runs(shop: Mesh, service: str) -> set[int | None]:
    found = shop.gateways if service == "gateway" else shop.instances(service).values()
    return {i.pids.run for i in found}


def one(shop: Mesh, service: str) -> Any:
    return shop.gateways[0] if service == "gateway" else shop.first(service)


def test_a_while_without_a_fault(shop: Mesh, steady: Steady, no_retries: None) -> None:
    with steady.window("no fault", after=8) as window:
        pass
    nothing_lost(window)
    shares = window.report.answered("x-orders-instance")
    assert set(shares) == set(shop.instances("orders"))
    assert min(shares.values()) / sum(shares.values()) > 0.4, shares
    assert all(shop.stat(g.id, "http.gateway_web.downstream_rq_2xx") > 100 for g in shop.gateways), "both take requests"


@pytest.mark.parametrize("component", ["xds_server", "certmgr", "openbao"])
def test_a_killed_component_costs_no_request(shop: Mesh, steady: Steady, no_retries: None, component: str) -> None:
    before = getattr(shop.status(), component)
    with steady.window(f"kill -9 {component}") as window:
        kill(before.pid)
        wait_for(f"{component} is back", lambda: getattr(shop.status(), component).pid not in {None, before.pid}, 20)
        shop.settle()
    nothing_lost(window)
    assert getattr(shop.status(), component).restarts == before.restarts + 1


@pytest.mark.parametrize("component", ["xds_server", "certmgr", "openbao", "telemetry"])
def test_a_hung_component_costs_no_request(shop: Mesh, steady: Steady, no_retries: None, component: str) -> None:
    """Stopped, and not dead: its sockets take connections and answer nothing."""
    pid = getattr(shop.status(), component).pid
    with steady.window(f"SIGSTOP {component}") as window:
        kill(pid, signal.SIGSTOP)
        steady.load_for(5)
        kill(pid, signal.SIGCONT)
        shop.settle()
    nothing_lost(window)


def test_instances_follow_the_load_and_no_request_is_lost(shop: Mesh, steady: Steady, no_retries: None) -> None:
    """More load brings instances that take their share, less takes them away, a death of telemetry changes nothing."""
    text = shop.file.read_text()
    policy = "{min: 2, max: 3, requests_per_second: 110, stabilization_window: 4s, cooldown: 1s}"
    quick = re.sub(r"(?<=autoscale: )\{min: 2, .*\}", policy, text)
    assert quick != text
    with steady.window("the load rises and falls") as window:
        shop.write(quick)
        more = asyncio.run(under_more_load(shop))
        scaled(shop, "orders", 2)
        shop.write(text)
    nothing_lost(window)
    assert more.failures == (), more.summary()
    assert len(window.report.answered("x-orders-instance")) == 3, "all of them took requests"


async def under_more_load(shop: Mesh) -> Report:
    """Send as much more as needs a third instance; have telemetry die meanwhile."""
    async with Load(shop.gateway, rate=170, connections=10, mix=Mixed((QUICK,))) as load:
        await asyncio.to_thread(scaled, shop, "orders", 3)
        status = await asyncio.to_thread(shop.status)
        (said,) = [s for service in status.services if service.name == "orders" for s in service.scaling]
        assert (said.desired, said.maximum) == (3, 3)
        assert "requests a second in all, 110 for each" in said.reason
        kill(status.telemetry.pid or 0)
        await load.run_for(6)
        assert len(await asyncio.to_thread(shop.instances, "orders")) == 3, "nobody goes while nobody looks"
    return load.report


def scaled(shop: Mesh, service: str, number: int) -> None:
    """Wait until so many instances serve, and no other is there."""

    def are_there() -> bool:
        found = shop.instances(service).values()
        return len(found) == number and all(i.healthy for i in found)

    try:
        wait_for(f"{number} instances of {service}", are_there, 60)
    except AssertionError as error:
        said = [str(one) for found in shop.status().services if found.name == service for one in found.scaling]
        raise AssertionError(f"{error}: {said}, {shop.troubles()}") from None


def test_three_rotations_of_everything_cost_no_request(shop: Mesh, steady: Steady, no_retries: None) -> None:
    with steady.window("three rotations of every certificate") as window:
        for _ in range(3):
            assert legation("certs", "rotate", "--all", "--state", str(shop.state)).returncode == 0
    nothing_lost(window)


def test_a_revocation_costs_its_owner_no_request(shop: Mesh, steady: Steady) -> None:
    """Those whose certificates are revoked have new ones, on new connections, before the old ones are denied."""
    with steady.window("web's and orders' certificates are revoked") as window:
        for service in ("web", "orders"):
            done = legation("certs", "revoke", service, "--state", str(shop.state))
            assert done.returncode == 0, done.stderr
    nothing_lost(window)


@pytest.mark.parametrize("kind", ["app", "envoy", "run"])
def test_one_of_two_instances_is_killed(shop: Mesh, steady: Steady, retries: None, kind: str) -> None:
    victim = shop.first("orders")
    pid = getattr(victim.pids, kind)
    with steady.window(f"kill -9 the {kind} of one of two") as window:
        window.fault(lambda: kill_one(victim, kind))
        truth = shop.instance(victim.id)
        back = getattr(truth.pids, kind) not in {None, pid}
        assert back or not truth.healthy, "status says healthy of an instance whose process is dead"
        wait_for(f"the {kind} is back", lambda: getattr(shop.instance(victim.id).pids, kind) not in {None, pid}, 20)
        shop.settle()
    only_in_flight(window)
    assert window.report.between(window.report.records[-1].end - 2, 1e12).answered("x-orders-instance")[victim.id] > 0


@pytest.mark.parametrize("service", ["web", "payments"])
def test_the_only_instance_is_killed(shop: Mesh, steady: Steady, retries: None, service: str) -> None:
    """Requests wait in their callers' Envoys until it is back."""
    victim = shop.first(service)
    with steady.window(f"kill -9 the legation run of the only {service}") as window:
        window.fault(lambda: kill_one(victim, "run"))
        replaced(shop, service, victim)
    only_in_flight(window)


@pytest.mark.parametrize("kind", ["envoy", "run"])
def test_a_gateway_is_killed(shop: Mesh, steady: Steady, kind: str) -> None:
    """Whoever connects is served by the other one: nobody is refused."""
    victim = shop.gateways[0]
    pid = getattr(victim.pids, kind)
    with steady.window(f"kill -9 the {kind} of a gateway") as window:
        window.fault(lambda: kill_one(victim, kind))
        wait_for("it is back", lambda: getattr(shop.instance(victim.id).pids, kind) not in {None, pid}, 20)
        shop.settle()
    only_in_flight(window)


@pytest.mark.parametrize("service", ["web", "orders", "gateway"])
def test_an_instance_that_is_asked_to_end_has_a_successor_first(
    shop: Mesh, steady: Steady, no_retries: None, service: str
) -> None:
    victim = one(shop, service)
    with steady.window(f"SIGTERM to the legation run of {victim.id}") as window:
        kill(victim.pids.run, signal.SIGTERM)
        replaced(shop, service, victim)
    nothing_lost(window)
    assert victim.id not in {i.id for i in shop.status().instances}


def test_envoys_are_replaced_by_those_of_another_version_and_back(shop: Mesh, steady: Steady, no_retries: None) -> None:
    """The successor of whoever is asked to end has what is installed by then: another Envoy, and a bootstrap for it."""
    for version, of_it in (("1.38.3", 2), (VERSIONS[-1], len(shop.status().instances))):
        with installed(version, shop.state.parent / SITE) as program, steady.window(f"Envoy {version}") as window:
            now = programs(shop)
            theirs = {"gateway": shop.gateways, "web": shop.instances("web").values()}
            victims = {name: next(i for i in known if now[i.id] != program) for name, known in theirs.items()}
            for victim in victims.values():
                kill(victim.pids.run, signal.SIGTERM)
            for service, victim in victims.items():
                replaced(shop, service, victim)
        nothing_lost(window)
        assert list(programs(shop).values()).count(program) == of_it


def test_an_only_instance_is_replaced_when_its_workload_changes(shop: Mesh, steady: Steady, no_retries: None) -> None:
    before = shop.first("web")
    text = shop.file.read_text()
    with steady.window("another environment for the only web") as window:
        shop.write(text.replace("web/server.js]}", f"web/server.js], env: {{CHANGED: '{time.time()}'}}}}"))
    nothing_lost(window)
    assert before.id not in shop.instances("web")
    with steady.window("and back") as window:
        shop.write(text)
    nothing_lost(window)


def test_a_successor_that_never_gets_healthy_leaves_the_old_one_serving(
    shop: Mesh, steady: Steady, no_retries: None
) -> None:
    before, text = shop.first("web"), shop.file.read_text()
    broken = text.replace("command: [node, web/server.js]", "command: [node, -e, 'throw new Error(`no such luck`)']")
    with steady.window("a web that cannot start") as window:
        shop.save(broken)
        try:
            said = wait_for("status says so", lambda: [p for p in shop.status().problems if "no such luck" in p], 30)
            assert f"{before.id} serves on until this successor is healthy" in said[0]
            assert shop.instance(before.id).healthy
        finally:
            shop.write(text)
    nothing_lost(window)
    assert set(shop.instances("web")) == {before.id}, "it was never touched"


def test_a_service_changes_its_version(shop: Mesh, steady: Steady, no_retries: None) -> None:
    text = shop.file.read_text()
    with steady.window("web becomes v2") as window:
        shop.write(text.replace("{service: web,", "{service: web, version: v2,"))
        assert {i.version for i in shop.instances("web").values()} == {"v2"}
    nothing_lost(window)
    with steady.window("and v1 again") as window:
        shop.write(text)
    nothing_lost(window)


def test_a_version_is_added_together_with_its_share(shop: Mesh, steady: Steady, no_retries: None) -> None:
    """Nobody waits for it: until it is ready the others have its share, and they have it again when it goes."""
    text = shop.file.read_text()
    shares = text.replace("split: {v1: 90, v2: 10}", "split: {v1: 30, v2: 10, v3: 60}")
    assert shares != text
    with steady.window("a v3 with more than half of the requests") as window:
        shop.write(f"{shares}\n  - {{service: catalog, version: v3, command: [node, catalog/server.js]}}\n")
        assert {i.version for i in shop.instances("catalog").values()} == {"v1", "v2", "v3"}
    nothing_lost(window)
    with steady.window("and without it again") as window:
        shop.write(text)
    nothing_lost(window)


def test_a_service_is_added_exposed_and_deleted(shop: Mesh, steady: Steady, no_retries: None) -> None:
    with steady.window("a service comes and goes, on a port of the gateways") as window, echo_in(shop) as echo:
        assert answers(echo.url)
    nothing_lost(window)


def test_a_team_migrates_to_mtls(shop: Mesh, steady: Steady, no_retries: None) -> None:
    """Permissive while clients outside of the mesh come in plain text, then strict again: both changes under load."""
    text = shop.file.read_text()
    with steady.window("permissive, and strict again") as window:
        shop.write(f"mtls: permissive\n{text}")
        shop.write(text)
    nothing_lost(window)


def test_ports_change(shop: Mesh, steady: Steady, no_retries: None) -> None:
    text = shop.file.read_text()
    with steady.window("other ports of orders and payments") as window:
        shop.write(
            text.replace("port: 9090", "port: 9091").replace(
                "  orders:\n    protocol: http\n    port: 8080", "  orders:\n    protocol: http\n    port: 8081"
            )
        )
        shop.write(text)
    nothing_lost(window)


def test_a_certificate_rotates(shop: Mesh, steady: Steady, no_retries: None) -> None:
    before = {i: s.certificate_serial for i, s in shop.instances("orders").items()}
    with steady.window("orders' certificate is renewed") as window:
        transport = httpx.HTTPTransport(uds=str(shop.run / "certmgr.sock"), verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://certmgr", timeout=20) as client:
            client.post("/identities/orders/renew").raise_for_status()
        wait_for("Envoys have it", lambda: not {*before.values()} & {serial(shop, i) for i in before}, 10)
    nothing_lost(window)
    for status in shop.instances("orders").values():
        assert serial_on_the_wire(status.inbound) == int(status.certificate_serial, 16)


def test_the_embedded_openbaos_own_root_is_followed_by_another(shop: Mesh, steady: Steady, no_retries: None) -> None:
    """As it is when half of its week is over; the old server ends, and its keys with it."""
    with steady.window("another root of the embedded OpenBao") as window:
        words = ("--settle", "1s", "--wait", "--state", str(shop.state))
        window.fault(lambda: legation("certs", "rollover", "start", *words))
    nothing_lost(window)
    shop.settle()
    assert roots(shop) == "CN=Legation DEV root of shop 2"
    wait_for("the first one is gone", lambda: not (shop.state / "openbao").exists() or None)
    assert (shop.state / "openbao-2" / "used").exists()


def test_the_ca_rolls_over_from_the_embedded_openbao_to_a_vault_of_the_team(
    shop: Mesh, steady: Steady, no_retries: None, tmp_path: Path
) -> None:
    """Another root, intermediate and server, and certmgr turns to it; then another intermediate there, and back.

    The last one: that Vault ends with the test.
    """
    with team(tmp_path) as vault:
        (tmp_path / "token").write_text(vault.operator())
        there = ("--vault", vault.url, "--vault-ca", str(vault.ca), "--token-file", str(tmp_path / "token"))
        before = roots(shop)
        with steady.window("roll-over to another Vault") as window:
            words = ("--what", "vault", "--settle", "1s", "--wait", "-f", str(shop.file), "--state", str(shop.state))
            window.fault(lambda: legation("certs", "rollover", "start", *words, *there))
        nothing_lost(window)
        shop.settle()
        assert roots(shop) != before
        assert roots(shop) == "CN=Legation root of shop 3"
        wait_for("no OpenBao of ours is left", lambda: not list(shop.state.glob("openbao*")) or None)
        status = shop.status()
        assert (status.openbao, status.vault) == (None, vault.url)
        here = (*there, "-f", str(shop.file), "--state", str(shop.state))
        with steady.window("another intermediate, and back to the old one") as window:
            window.fault(
                lambda: legation("certs", "rollover", "start", "--what", "intermediate", "--settle", "1h", *here)
            )
            assert issuers(shop) == {"CN=Legation intermediate of shop 4"}
            window.fault(lambda: legation("certs", "rollover", "rollback", "--settle", "1s", "--wait", *here))
        nothing_lost(window)
        assert issuers(shop) == {"CN=Legation intermediate of shop 3"}
        shop.settle()
        for status in shop.instances("orders").values():
            assert serial_on_the_wire(status.inbound) == int(status.certificate_serial, 16)
