"""The running shop's log: by `legation logs`, in a real Loki, and with neither of them there."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.test_traces import place_order, traced
from tests.support.loki import Loki, loki
from tests.support.mesh import LEGATION, ROOT, Mesh, legation, wait_for
from tests.xds_server.serve.envoy import free_port

pytestmark = pytest.mark.timeout(900)  # the first time, Loki is built
HOPS = [("legation-gateway", "gateway"), ("orders", "inbound"), ("payments", "inbound"), ("web", "inbound")]


def logs(shop: Mesh, *words: str) -> list[dict[str, Any]]:
    return list(json.loads(legation("logs", "--state", str(shop.state), "-o", "json", *words).stdout)["records"])


def hops(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(r["service"], r["fields"]["direction"]) for r in found if r["kind"] == "access"}


def whole(shop: Mesh, trace: str) -> list[dict[str, Any]] | None:
    found = logs(shop, "--trace", trace)
    return found if set(HOPS) <= hops(found) and any(r["kind"] == "app" for r in found) else None


def followed(shop: Mesh) -> list[dict[str, Any]] | None:
    """Place an order; return its records once all are there, None when some stay away."""
    trace = place_order(shop)
    try:
        return wait_for("its records", lambda: whole(shop, trace), 8)
    except AssertionError:
        return None


@contextmanager
def stopped(shop: Mesh) -> Iterator[None]:
    """Have telemetry hang: it is there, and does nothing."""
    pid = shop.status().telemetry.pid or 0
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def soon(shop: Mesh, count: int = 20) -> None:
    """Place orders; none waits for a log."""
    begun = time.monotonic()
    for _ in range(count):
        place_order(shop)
    assert time.monotonic() - begun < count / 2


@pytest.fixture(scope="module")
def team(shop_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loki]:
    """A team's Loki that the running shop's log goes on to, with traces."""
    tracing = traced(free_port())
    with loki(Path(tmp_path_factory.mktemp("loki"))) as receiver:
        logging = f"logging: {{otlp: {{url: {receiver.otlp}}}}}\n"
        shop_mesh.settle()
        with shop_mesh.edited(lambda text: tracing(text).replace("\nservices:\n", f"\n{logging}\nservices:\n", 1)):
            yield receiver


def test_a_request_and_what_apps_wrote_for_it_are_found_by_its_trace(shop: Mesh, team: Loki) -> None:
    # connections from before the change know nothing of traces until they are drained
    found = wait_for("all of a trace", lambda: followed(shop), 60)
    (written,) = (r for r in found if r["kind"] == "app")
    assert (written["service"], json.loads(written["text"])["msg"]) == ("orders", "order placed")
    assert written["instance"] in shop.instances("orders")
    assert len({r["request"] for r in found if r["kind"] == "access"}) == 1
    follow = subprocess.Popen(
        [*LEGATION, "logs", "--state", str(shop.state), "-f", "--service", "orders", "--kind", "app"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        follow.stdout.readline()
        trace = place_order(shop)
        assert any(f"trace={trace}" in line for line in follow.stdout)
    finally:
        follow.send_signal(signal.SIGINT)
        assert follow.wait(20) == 0
    with stopped(shop):
        soon(shop)
    wait_for("all of a trace after telemetry hung", lambda: followed(shop), 60)


def test_records_reach_a_real_loki(shop: Mesh, team: Loki) -> None:
    trace = wait_for("all of a trace", lambda: followed(shop), 60)[0]["trace"]
    query = f'{{service_name="orders"}} | trace_id="{trace}"'
    found = wait_for("orders' records in Loki", lambda: found_all(team.find(query)), 60)
    labels, line = next((labels, line) for labels, line in found if labels.get("direction") == "inbound")
    assert line.startswith("POST ")
    assert (labels["status"], labels["service_namespace"]) == ("201", "shop")
    team.hang()
    soon(shop)
    wait_for("all of a trace while Loki hangs", lambda: followed(shop), 60)


def found_all(found: list[tuple[dict[str, str], str]]) -> list[tuple[dict[str, str], str]] | None:
    """Return the records once an app's line is among them, and its proxy's."""
    kinds = {labels.get("direction", labels["kind"]) for labels, _ in found}
    return found if kinds >= {"app", "inbound"} else None
