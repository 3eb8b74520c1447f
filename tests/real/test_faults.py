"""What users see when something dies, is renewed or restarted, under load: nothing.

Load is 200 requests a second over 50 connections, half of them fresh, from 10 s before the fault to
30 s after it, by a client that repeats nothing. Each line that a test prints is its evidence.
"""

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.support.load import Load, Mixed, Report, Request
from tests.support.mesh import PLAIN, Mesh, wait_for

BEFORE, AFTER = 10.0, 30.0
ORDER = Request("POST", "/orders", b'{"item": "tea", "quantity": 1}', {"content-type": "application/json"})
QUICK = Request("GET", "/proxy/orders/healthz")
MIX = Mixed((QUICK, QUICK, QUICK, ORDER, QUICK, QUICK, QUICK, QUICK, Request(), QUICK))
"""Every request passes through gateway, web and orders; one in five through all services, one in ten is a POST."""

pytestmark = pytest.mark.timeout(300)


def say(text: str) -> None:
    """Print a line of evidence (pytest -rP or -s shows it)."""
    sys.stdout.write(text + "\n")


def under_load(shop: Mesh, fault: Callable[[], None]) -> tuple[Report, float]:
    """Return all requests around a fault, and when the fault was over (monotonic seconds)."""
    retried = retries(shop)

    async def run() -> tuple[Report, float]:
        async with Load(shop.gateway, rate=200, connections=50, mix=MIX) as load:
            await load.run_for(BEFORE)
            await asyncio.to_thread(fault)
            over = time.monotonic()
            await load.run_for(AFTER)
        return load.report, over

    report, over = asyncio.run(run())
    say(f"\n{report.summary()}\nretried by Envoys: {retries(shop) - retried}")
    # A machine that others use, too, may not always keep up; what it then drops is said in the line above.
    assert report.rate > 0.8 * report.wanted_rate, "the load was not what it claims to be"
    return report, over


def retries(shop: Mesh) -> int:
    """All retries of all Envoys; an Envoy that was started anew counts from 0."""
    total = 0
    for admin in shop.run.glob("admin-*.sock"):
        try:
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(admin), verify=PLAIN), base_url="http://e"
            ) as client:
                stats = client.get("/stats", params={"filter": r"^cluster\..*\.upstream_rq_retry$"}).text
        except httpx.HTTPError:
            continue
        total += sum(int(value) for value in re.findall(r": (\d+)", stats))
    return total


def without_retries(text: str) -> str:
    """The shop's mesh.yaml with every retry turned off, those that are always safe included."""
    off = "retry: {num_retries: 0}"
    text = re.sub(r"retry: \{retry_on.*\}", off, text)
    text = text.replace("split: {v2: 100}", "split: {v2: 100}\n        " + off)
    text = re.sub(r"split: \{v1: 90, v2: 10\}", "split: {v1: 90, v2: 10}\n        " + off, text)
    text = text.replace("    expose: {port: 8080}", f"    routes: [{{{off}}}]\n    expose: {{port: 8080}}")
    return text.replace("    health_check: {}", f"    routes: [{{{off}}}]\n    health_check: {{}}")


@pytest.fixture(params=["retries", "no retries"])
def either(request: pytest.FixtureRequest, shop: Mesh):
    """The shop as it is, then with every retry of the mesh turned off."""
    if request.param == "retries":
        yield shop
        return
    with shop.edited(without_retries):
        assert shop.file.read_text().count("num_retries: 0") == 5
        yield shop


def kill(pid: int) -> float:
    """SIGKILL; return when the process was gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(f"the end of {pid}", lambda: gone(pid) or None, 5)
    return time.monotonic()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_minute_of_load_without_a_failed_request(shop: Mesh) -> None:
    async def run() -> Report:
        async with Load(shop.gateway, rate=200, connections=50, mix=MIX) as load:
            await load.run_for(60)
        return load.report

    report = asyncio.run(run())
    say(f"\n{report.summary()}")
    assert report.failures == ()
    shares = report.answered("x-orders-instance")
    assert set(shares) == {"orders-v1-0", "orders-v1-1"}
    assert min(shares.values()) / sum(shares.values()) > 0.4, shares


@pytest.mark.parametrize("part", ["xds_server", "certmgr", "openbao"])
def test_a_killed_control_plane_part_costs_no_request(either: Mesh, part: str) -> None:
    shop = either
    before = getattr(shop.status(), part)

    def fault() -> None:
        kill(before.pid)
        wait_for(f"{part} is back", lambda: getattr(shop.status(), part).pid not in {None, before.pid}, 20)

    report, _ = under_load(shop, fault)
    assert report.failures == (), report.summary()
    shop.settle()
    after = getattr(shop.status(), part)
    assert after.restarts == before.restarts + 1
    assert len(shop.instances("orders")) == 2


@pytest.mark.parametrize("kind", ["app", "envoy"])
def test_a_killed_instance_costs_only_what_it_had_in_flight(shop: Mesh, kind: str) -> None:
    victim = "orders-v1-0"
    pid = getattr(shop.instance(victim).pids, kind)
    died: list[float] = []

    def fault() -> None:
        died.append(kill(pid))
        truth = shop.instance(victim)
        back = getattr(truth.pids, kind) not in {None, pid}
        assert back or not truth.healthy, "status says healthy of an instance whose process is dead"
        wait_for(f"the {kind} is back", lambda: getattr(shop.instance(victim).pids, kind) not in {None, pid}, 20)

    report, _ = under_load(shop, fault)
    lost = report.failures
    say(f"in flight at the dead instance, and lost: {len(lost)}")
    assert all(record.start <= died[0] for record in lost), report.summary()
    assert len(lost) <= 20, report.summary()
    shop.settle()
    answered = report.between(report.records[-1].end - 5, report.records[-1].end).answered("x-orders-instance")
    assert answered[victim] > 0, "the instance gets requests again"


def test_certificate_rotates_under_load(either: Mesh) -> None:
    shop = either
    before = {i: s.certificate_serial for i, s in shop.instances("orders").items()}

    def fault() -> None:
        transport = httpx.HTTPTransport(uds=str(shop.run / "certmgr.sock"), verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://certmgr", timeout=20) as client:
            client.post("/identities/orders/renew").raise_for_status()

    report, _ = under_load(shop, fault)
    assert report.failures == (), report.summary()
    for instance, status in shop.instances("orders").items():
        assert status.certificate_serial != before[instance]
        assert serial_on_the_wire(status.inbound) == int(status.certificate_serial, 16)


def serial_on_the_wire(address: str) -> int:
    """The serial of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as raw, context.wrap_socket(raw) as tls:
        shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_a_rolling_restart_costs_no_request(either: Mesh) -> None:
    shop = either
    before = {i: s.pids for i, s in shop.instances("orders").items()}

    def fault() -> None:
        for instance, pids in before.items():
            os.kill(pids.run, signal.SIGTERM)
            wait_for(f"{instance} has begun to end", lambda i=instance: not shop.instance(i).healthy or None, 10)
            wait_for(f"{instance} is back", lambda i=instance: back(shop, i, before) or None, 40)

    report, _ = under_load(shop, fault)
    assert report.failures == (), report.summary()
    for instance, status in shop.instances("orders").items():
        assert status.pids.app not in {None, before[instance].app}


def back(shop: Mesh, instance: str, before: dict[str, object]) -> bool:
    now = shop.instance(instance)
    return now.healthy and now.synced and now.pids.run not in {None, before[instance].run}
