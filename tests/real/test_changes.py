"""A change of mesh.yaml while the mesh runs: a good one is live and touches nothing else, a bad one does nothing."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import ApplyResult, MeshDocument
from tests.support.echo import answers, asked, echo_in
from tests.support.load import Load, Mixed, Report, Request
from tests.support.mesh import SHOP, Mesh, legation, running, wait_for
from tests.support.peer import REFUSED, peer_of

pytestmark = pytest.mark.timeout(240)


def pids(mesh: Mesh) -> dict[str, Any]:
    """The processes of every instance, by its id."""
    status = mesh.status()
    return {i.id: i.pids for i in (*status.gateways, *(i for s in status.services for i in s.instances))}


def status(mesh: Mesh) -> tuple[int, str]:
    """What `legation status` exits with, and all that it says."""
    done = legation("status", "--state", str(mesh.state), check=False)
    return done.returncode, done.stdout + done.stderr


# --- bad ones

BAD = (
    ("num_retries: 3", "num_retries: 33", r"mesh\.yaml:\d+:\d+: services\.orders\.routes\[0\]\.retry\.num_retries: "),
    (
        "trust_domain: shop.local ",
        "trust_domain: elsewhere.local ",
        r"mesh\.yaml:\d+:\d+: trust_domain: .*legation down",
    ),
    ("mesh: shop ", "mesh: other ", r"mesh\.yaml:\d+:\d+: mesh: .*legation down"),
)


@pytest.mark.parametrize(("old", "new", "says"), BAD)
def test_a_bad_change_changes_nothing_and_is_reported(shop: Mesh, old: str, new: str, says: str) -> None:
    """Until the next good save: the same version is served, by the same processes."""
    before, version, running_now = shop.file.read_text(), shop.version(), pids(shop)
    assert old in before
    try:
        shop.save(before.replace(old, new))
        wait_for("the change is refused", lambda: shop.status().problems, 20)
        assert [p for p in shop.status().problems if not re.search(says, p)] == []
        code, said = status(shop)
        assert code == 3
        assert re.search(says, " ".join(said.split())), said
        assert shop.version() == version
        assert pids(shop) == running_now
        assert all(shop.get("/").status_code == 200 for _ in range(5))
    finally:
        shop.save(before)
    wait_for("the report is gone", lambda: not shop.status().problems, 20)
    assert status(shop)[0] == 0
    assert shop.version() == version


def test_a_file_that_is_gone_changes_nothing(shop: Mesh) -> None:
    """Some editors remove a file before they write it anew."""
    version, aside = shop.version(), shop.file.with_suffix(".aside")
    shop.file.rename(aside)
    assert shop.get("/").status_code == 200
    aside.rename(shop.file)
    with shop.edited(lambda text: text + "\n# one more line\n"):
        assert shop.version() != version
    assert shop.version() == version


def test_validate_says_all_faults_at_once(tmp_path: Path) -> None:
    good = SHOP / "mesh.yaml"
    assert legation("validate", "-f", str(good)).returncode == 0
    bad = tmp_path / "mesh.yaml"
    text = good.read_text()
    for old, new, _ in BAD[:1]:
        text = text.replace(old, new)
    text = text.replace("timeout: 10s", "timeout: soon").replace("service: payments\n", "service: paiments\n", 1)
    bad.write_text(text)
    done = legation("validate", "-f", str(bad), check=False)
    assert done.returncode == 3
    violations = re.findall(rf"^{re.escape(str(bad))}:\d+:\d+: services\.orders\.(\S+): ", done.stdout, re.MULTILINE)
    assert sorted(violations) == ["calls[0].service", "routes[0].retry.num_retries", "routes[0].timeout"], done.stdout
    assert legation("validate", "-f", str(tmp_path / "none.yaml"), check=False).returncode == 2


# --- good ones


def test_a_route_and_a_weight_are_live_without_a_restart(shop: Mesh) -> None:
    before, url = pids(shop), f"{shop.gateway}/proxy/catalog/items"

    def change(text: str) -> str:
        text = text.replace("split: {v1: 90, v2: 10} ", "split: {v1: 0, v2: 100} ")
        return text.replace(
            "    routes:\n      - match",
            '    routes:\n      - {match: {headers: {x-old: "1"}}, split: {v1: 100}}\n      - match',
            1,
        )

    with shop.edited(change):
        assert Counter(a.headers["x-catalog-instance"] for a in asked(40, url)) == {"catalog-v2-0": 40}
        assert Counter(a.headers["x-catalog-instance"] for a in asked(20, url, x_old="1")) == {"catalog-v1-0": 20}
        assert pids(shop) == before
    assert "catalog-v1-0" in {a.headers["x-catalog-instance"] for a in asked(20, url)}
    assert pids(shop) == before


def test_a_removed_call_is_denied_at_once(shop: Mesh, tmp_path: Path) -> None:
    """The caller has no way any more, and the callee lets nobody in who comes all the same."""
    before, web = pids(shop), peer_of(shop, "web", tmp_path)
    orders = shop.instance("orders-v1-0").inbound
    assert web.ask(orders, "GET", "/orders").status == 200
    with shop.edited(lambda text: text.replace("      - orders ", "      # - orders ", 1)):
        assert web.ask(orders, "GET", "/orders").status == 403
        answer = shop.get("/proxy/orders/orders")
        # Its listener is gone; on a connection that web still held to it, Envoy answers that there is no cluster.
        assert answer.status_code in {502, 503}
        if answer.status_code == 502:
            assert answer.json()["status"] in {None, 404}, "web's own Envoy has no route"
        assert shop.get("/proxy/catalog/items").status_code == 200
    assert shop.get("/proxy/orders/orders").status_code == 200
    assert pids(shop) == before


def test_a_service_is_added_and_taken_away_without_a_restart_of_others(shop: Mesh) -> None:
    before = pids(shop)
    with echo_in(shop) as echo:
        assert answers(echo.url)
        now = pids(shop)
        assert set(now) - set(before) == {"echo-v1-0", "echo-v1-1", "echo-v2-0"}
        assert {i: now[i] for i in before} == before
    assert pids(shop) == before
    assert not answers(echo.url)


def test_instances_follow_their_number(shop: Mesh) -> None:
    """Up and down again; those that stay are not touched, and none of them misses a request."""
    before, url = pids(shop), f"{shop.gateway}/proxy/orders/orders"
    with shop.edited(lambda text: text.replace("instances: 2", "instances: 3")):
        now = pids(shop)
        assert set(now) - set(before) == {"orders-v1-2"}
        wait_for("the new one gets requests", lambda: "orders-v1-2" in instances(url), 10)
    assert pids(shop) == before
    assert instances(url) == {"orders-v1-0", "orders-v1-1"}


def instances(url: str) -> set[str]:
    found = asked(40, url)
    assert {a.status_code for a in found} == {200}
    return {a.headers["x-orders-instance"] for a in found}


# --- many


def variant(text: str, number: int) -> str:
    """A mesh.yaml that differs from the one before and after it in clusters, listeners and routes."""
    share = number % 50
    text = text.replace("{v1: 90, v2: 10}", f"{{v1: {100 - share}, v2: {share}}}")
    text = text.replace("num_retries: 3", f"num_retries: {1 + number % 9}")
    if number % 2:
        text = text.replace("policy: least_request", "policy: round_robin")
    if number % 3:
        text = text.replace("methods: [GET, HEAD]", "methods: [GET, HEAD, OPTIONS]")
    if number % 5 == 0:
        text = text.replace("interval: 1s", "interval: 2s")
    return f"{text}\n# change {number}\n"


def test_100_changes_in_a_row_cost_no_request(shop: Mesh) -> None:
    """Each goes to xds_server's `apply` as soon as the one before is taken; the load repeats nothing."""
    original = shop.file.read_text()
    mix = Mixed((Request(), Request("POST", "/orders", b'{"item": "tea"}', {"content-type": "application/json"})))

    async def main() -> Report:
        client = ControlClient(shop.run / "xds_server.sock", 30)

        async def apply(text: str) -> ApplyResult:
            document = MeshDocument(file=str(shop.file), text=text)
            return await client.send("PUT", "/mesh", document, ApplyResult)

        async with Load(shop.gateway, rate=50, connections=10, mix=mix) as load:
            for number in range(100):
                result = await apply(variant(original, number))
                assert (result.violations, result.changed) == ((), True)
            await load.run_for(2)
            await apply(original)
            await load.run_for(8)
        return load.report

    report = asyncio.run(main())
    assert report.failures == (), report.summary()


# --- more than one mesh


OF_ONE_NAME = """
mesh: shop
trust_domain: shop.local
certificates: {dev: true}
services:
  web: {protocol: http, port: 8080, expose: {port: 8080}}
  catalog: {protocol: http, port: 8080}
workloads:
  - {service: web, command: [node, catalog/server.js]}
  - {service: catalog, command: [node, catalog/server.js]}
"""


def test_two_meshes_live_side_by_side(shop: Mesh, tmp_path: Path) -> None:
    """Neither sees, trusts or ends the other, though their names are the same."""
    with running(tmp_path, change=lambda _: OF_ONE_NAME) as other:
        assert (shop.get("/").status_code, other.get("/items").status_code) == (200, 200)
        address, there = (m.instance("catalog-v1-0").inbound for m in (shop, other))
        assert address.split(".")[1] != there.split(".")[1], "another loopback block"
        ours = peer_of(shop, "web", tmp_path)
        assert ours.ask(address, "GET", "/items").status == 200
        with pytest.raises(REFUSED):
            ours.ask(there, "GET", "/items")
        own = pids(shop)
        for _ in range(2):
            assert legation("down", "--state", str(other.state)).returncode == 0
    assert pids(shop) == own
    assert shop.get("/").status_code == 200
