"""Every rule and panel of the running shop, through a real Prometheus and promtool."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import dashboards.render
import telemetry.rules.render
from legation.host.layout import HostFile
from legation.mesh.load import load
from legation.runtime.state import StateFolder
from telemetry.autoscale.kubernetes import render_kubernetes
from telemetry.autoscale.queries import policy_queries
from tests.support.mesh import PLAIN, ROOT, Mesh, legation, wait_for
from tests.support.promql import all_answered, empty_queries, manifest_queries
from tests.xds_server.serve.envoy import free_port

TRACE, REQUEST = "0af7651916cd43dd8448eb211c80319c", "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
"""Those of docs/sre.md."""
OF_STATE = {
    *("MeshCertificateAboutToExpire", "MeshCertificateExpiresSoon", "MeshTrustBundleExpires", "MeshVaultDown"),
    *("MeshConfigRejected", "MeshInstanceNotSynced", "MeshNoHealthyInstance", "MeshMetricsAbsent", "MeshTargetDown"),
    *("MeshTelemetryDown", "MeshRegistryNotStored", "MeshRegistryUnreachable"),
}
"""Alerts on what a mesh in order is not in, however many of its requests fail."""

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt-get install prometheus"),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def rendered(shop_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command renders for the running shop."""
    folder = Path(tmp_path_factory.mktemp("rendered"))
    words = ("-f", str(shop_mesh.file), "--state", str(shop_mesh.state))
    legation("render", "prometheus", str(folder), "--alertmanager", "127.0.0.1:1", *words)  # where nobody is paged
    legation("render", "grafana", str(folder), *words)
    return folder


@pytest.fixture(scope="module")
def prometheus(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus on the rendered files, at a pace for tests; one for all of them."""
    folder = Path(tmp_path_factory.mktemp("prometheus"))
    shutil.copytree(rendered / "rules", folder / "rules")
    for rules in folder.glob("rules/*.rules.yaml"):
        rules.write_text(rules.read_text().replace("interval: 1m", "interval: 2s"))
    config, at = folder / "prometheus.yaml", f"127.0.0.1:{free_port()}"
    config.write_text(re.sub(r"\b1[05]s\b", "2s", (rendered / "prometheus.yaml").read_text()))
    words = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={at}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *words], stdout=log, stderr=log)
    try:
        wait_for("Prometheus is ready", lambda: ready(f"http://{at}") or None, 60)
        yield f"http://{at}"
    finally:
        process.kill()
        process.wait()


def test_promtool_takes_what_the_command_renders(rendered: Path) -> None:
    """The tests of alerts are run for a mesh with all that makes rules: tests/telemetry/test_render.py."""
    rules = [str(f) for f in sorted(rendered.glob("rules/*.rules.yaml"))]
    assert rules
    assert list(rendered.glob("tests/*.test.yaml"))
    for words in (["rules", "--lint=all", "--lint-fatal", *rules], ["config", str(rendered / "prometheus.yaml")]):
        done = subprocess.run(["promtool", "check", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(rendered.glob("dashboards/*.json"))) >= 1


def test_every_query_returns_data_from_the_running_shop(shop: Mesh, prometheus: str) -> None:
    mesh = load(shop.file.read_text(), "mesh.yaml").mesh
    queries = telemetry.rules.render.queries(mesh) + dashboards.render.queries(mesh) + policy_queries(mesh)
    queries += manifest_queries(render_kubernetes(mesh))
    assert len(queries) > 100

    def all_have_data() -> bool:
        shop.get("/", headers={"x-canary": "1"})
        shop.get("/")
        assert shop.get("/proxy/orders/fail?code=503").status_code == 503, "and some that fail, after all retries"
        return all_answered(prometheus, queries)

    try:
        wait_for("every query has data", lambda: all_have_data() or None, 150)
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(map(str, queries))) from None
    targets = httpx.get(f"{prometheus}/api/v1/targets", trust_env=False, verify=PLAIN).json()["data"]["activeTargets"]
    health = {t["labels"].get("instance", t["scrapeUrl"]): t["health"] for t in targets}
    assert set(health.values()) == {"up"}, health
    for instance in ("web-v1-0", "orders-v1-0", "orders-v1-1", "legation-gateway-0"):
        assert instance in health
    wait_for("no alert is due that requests did not cause", lambda: not due(prometheus) & OF_STATE or None, 20)


def due(prometheus: str) -> set[str]:
    """The alerts that fire, or would if nothing changed."""
    return {name for name, _ in about(prometheus)}


def about(prometheus: str) -> set[tuple[str, str]]:
    """The same, each with its instance."""
    found = httpx.get(f"{prometheus}/api/v1/alerts", trust_env=False, verify=PLAIN).json()["data"]["alerts"]
    return {(alert["labels"]["alertname"], alert["labels"].get("instance", "")) for alert in found}


def blocks(language: str) -> list[str]:
    """The lines of the code blocks of a language on the page for who is on call."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "sre.md").read_text(), re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def test_the_page_for_who_is_on_call_is_true(shop: Mesh, prometheus: str) -> None:
    """Each of its commands runs and finds something, and each of its queries has data."""
    queries = [("docs/sre.md", line) for line in blocks("promql")]
    commands = [shlex.split(line)[1:] for line in blocks("sh") if line.startswith("legation ")]
    assert len(queries) > 5
    assert len(commands) > 5
    order = httpx.post(f"{shop.gateway}/orders", trust_env=False, timeout=20, verify=PLAIN)
    assert order.status_code == 201

    def all_have_data() -> bool:
        shop.get("/proxy/orders/fail?code=503")
        return all_answered(prometheus, queries)

    wait_for("every query has data", lambda: all_have_data() or None, 100)
    found = json.loads(legation("logs", "--state", str(shop.state), "--code", "5xx", "-o", "json").stdout)["records"]
    real = {"http://127.0.0.1:9090": prometheus, REQUEST: found[0]["request"]}
    for words in commands:
        done = legation(*(real.get(word, word) for word in words), "--state", str(shop.state), check=False)
        assert done.returncode in (0, 3), f"{words}: {done.stderr}"
        nothing = {"UF", TRACE} & set(words)  # every instance can be reached, and the shop has no traces
        assert nothing or len(done.stdout.splitlines()) > 1, f"{words}: {done.stdout}"


def test_a_hung_xds_server_is_told_of(shop: Mesh) -> None:
    """Stopped by SIGSTOP it is no dead one: its sockets take connections, and nothing answers."""
    pid = shop.status().xds_server.pid
    assert pid is not None
    host = HostFile.read(StateFolder(shop.state).host_file)
    assert host is not None
    telemetry = f"http://{host.telemetry}/metrics"

    def watches() -> set[str]:
        text = httpx.get(telemetry, trust_env=False, verify=PLAIN).text
        return set(re.findall(r"^telemetry_watch_connected\{.*\} (\S+)$", text, re.MULTILINE))

    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for("telemetry finds both watches silent", lambda: watches() == {"0.0"}, 40)
        wait_for("status says so", lambda: any("has not been heard" in p for p in shop.status().problems), 40)
        assert shop.get("/").status_code == 200, "the data plane serves on"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("both are back", lambda: watches() == {"1.0"}, 30)
    shop.settle()


def test_a_hung_envoy_is_told_of_and_replaced(shop: Mesh, prometheus: str) -> None:
    """Its sockets take connections, and nothing answers: the first to notice is who scrapes it.

    xds_server does some 10 s later, and withdraws it; so it is asked whether there was an alert. Nobody wakes it.
    """
    was = [("ALERTS", 'max_over_time(ALERTS{alertname="MeshTargetDown", instance="orders-v1-1"}[2m])')]
    before = shop.instance("orders-v1-1")
    os.kill(before.pids.envoy or 0, signal.SIGSTOP)
    wait_for("status says so", lambda: any("has not answered" in p for p in shop.status().problems), 40)
    wait_for("it is told of", lambda: not empty_queries(prometheus, was), 40)
    wait_for("another serves", lambda: shop.instance("orders-v1-1").envoy_restarts == {"hung": 1}, 60)
    after = shop.instance("orders-v1-1")
    assert after.pids.envoy != before.pids.envoy
    assert (after.pids.run, after.pids.app) == (before.pids.run, before.pids.app)
    restarts = 'mesh_instance_envoy_restarts_total{instance_id="orders-v1-1", reason="hung"} == 1'
    wait_for("it is counted", lambda: not empty_queries(prometheus, [("restarts", restarts)]), 40)
    wait_for("no more", lambda: ("MeshTargetDown", "orders-v1-1") not in about(prometheus), 40)
    shop.settle()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False, verify=PLAIN).status_code == 200
    except httpx.TransportError:
        return False
