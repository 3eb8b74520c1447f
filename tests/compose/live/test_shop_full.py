"""The profile full around the shop that runs: real Prometheus, Alertmanager, Jaeger, Loki, Redis and ratelimit.

After test_shop.py, as they share a mesh: so a core that becomes full is tried as well. Grafana is left out, as there is
no program of it to be had here.
"""

import json
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.live.project import APPS, NAME, ROOT, Capture, Project
from tests.support.mesh import wait_for

pytestmark = pytest.mark.timeout(300)

PROGRAMS = ("prometheus", "alertmanager", "jaeger", "loki", "redis", "ratelimit")
FILES = ("docker-compose.yaml", "docker-compose.override.yaml", "docker-compose.app-logs.yaml")
HOPS = {"legation-gateway", "web", "catalog", "orders", "payments"}


@pytest.fixture(scope="module")
def full(project: Project) -> Project:
    there = set(project.docker("images", "--format", "{{.Repository}}").split())
    missing = [name for name in PROGRAMS if f"legation-test-{name}" not in there]
    if missing:
        pytest.skip(f"no image of {', '.join(missing)}: make jaeger loki ratelimit images")
    ports = ("PROMETHEUS", "ALERTMANAGER", "JAEGER", "LOKI", "TELEMETRY", "SYSLOG")
    project.environment |= {f"LEGATION_{name.upper()}_IMAGE": f"legation-test-{name}" for name in PROGRAMS}
    project.environment |= {f"LEGATION_{part}_PORT": str(project.free_port()) for part in ports}
    project.environment |= {"LEGATION_GRAFANA_PROFILE": "none", "COMPOSE_PROFILES": "full"}
    project.environment["COMPOSE_FILE"] = ":".join(FILES)
    project.up()
    return project


def ask(project: Project, part: str, path: str, **words: str) -> Any:
    """What one of the programs answers at its published port; None while it does not."""
    at = f"http://127.0.0.1:{project.environment[f'LEGATION_{part}_PORT']}"
    try:
        answer = httpx.get(at + path, params=words, trust_env=False, timeout=10)
    except httpx.TransportError:
        return None
    return answer.json() if answer.status_code == 200 else None


@contextmanager
def many(project: Project) -> Iterator[Callable[[str, int], Counter[int]]]:
    """What asks for a path so many times, and counts the answers by their status."""
    with httpx.Client(base_url=project.url, trust_env=False, timeout=20) as client, ThreadPoolExecutor(16) as pool:
        yield lambda path, times: Counter(pool.map(lambda _: client.get(path).status_code, range(times)))


def test_the_rest_comes_up_around_the_core(full: Project) -> None:
    sys.stdout.write(f"from core to full took {full.seconds:.0f} s\n")
    assert full.get("/").status_code == 200


def test_prometheus_measures_each_proxy_and_each_part_of_legation(full: Project) -> None:
    wanted = {*APPS, "limiter", "redis", "legation-gateway", "xds_server", "certmgr", "telemetry"}

    def measured() -> bool:
        found = ask(full, "PROMETHEUS", "/api/v1/query", query="up") or {"data": {"result": []}}
        up = {m.get("service") or m["component"]: s["value"][1] for s in found["data"]["result"] if (m := s["metric"])}
        return up.keys() == wanted and set(up.values()) == {"1"}

    wait_for("all targets are up", measured, 60)
    rules = ask(full, "PROMETHEUS", "/api/v1/rules")["data"]["groups"]
    assert all(rule["health"] != "err" for group in rules for rule in group["rules"])


def test_an_alert_reaches_alertmanager(full: Project) -> None:
    def seen() -> bool:
        query = 'sum(envoy_http_downstream_rq_xx{service="web",envoy_response_code_class="5"}) > 0'
        return bool(
            (ask(full, "PROMETHEUS", "/api/v1/query", query=query) or {"data": {"result": []}})["data"]["result"]
        )

    with many(full) as get:
        for _ in range(2):  # between two scrapes, as what a counter begins with is no increase
            assert get("/proxy/orders/fail?code=500", 40).keys() == {500}
            wait_for("Prometheus has seen the failures", seen, 60)

    def fired() -> bool:
        alerts = ask(full, "ALERTMANAGER", "/api/v2/alerts") or []
        return any(
            (a["labels"]["alertname"], a["labels"].get("service")) == ("MeshErrorBudgetBurn1h", "web") for a in alerts
        )

    wait_for("callers of web spend its budget, which Alertmanager is told", fired, 120)


def test_a_request_is_one_trace_with_all_hops(full: Project) -> None:
    def whole() -> bool:
        assert full.get("/").status_code == 200
        traces = (ask(full, "JAEGER", "/api/traces", service="legation-gateway", limit="50") or {"data": []})["data"]
        # and limiter, whose spans may come before those of the others or after
        return any({p["serviceName"] for p in trace["processes"].values()} >= HOPS for trace in traces)

    wait_for("a trace with all hops", whole, 60)


def test_what_certmgr_does_is_traced_too(full: Project) -> None:
    """It has no road but the one to Prometheus and Jaeger."""
    full.certs("rotate", "catalog")

    def known() -> bool:
        return "legation-certmgr" in ((ask(full, "JAEGER", "/api/services") or {}).get("data") or ())

    wait_for("a trace of a rotation", known, 60)


def test_callers_of_services_that_share_a_port_are_counted_for_each(full: Project) -> None:
    """catalog and orders are both at web's port 8080; an objective of either has its data."""
    wanted = {("legation-gateway", "web"), ("web", "catalog"), ("web", "orders"), ("orders", "payments")}

    def series(query: str, *labels: str) -> set[tuple[str, ...]]:
        found = ask(full, "PROMETHEUS", "/api/v1/query", query=query) or {"data": {"result": []}}
        return {tuple(one["metric"][label] for label in labels) for one in found["data"]["result"]}

    def counted() -> bool:
        full.get("/")
        edges = series("edge:mesh_requests:rate5m > 0", "source", "destination")
        return wanted <= edges and not any(called.startswith("_") for _, called in edges)

    wait_for("an edge for each call", counted, 60)
    objectives = {(service, kind) for service in ("web", "catalog") for kind in ("availability", "latency")}

    def all_have_data() -> bool:
        burn, total = "service:mesh_slo_burn:rate5m", "service:mesh_slo_total:rate5m > 0"
        return all(series(recorded, "service", "slo") >= objectives for recorded in (burn, total))

    wait_for("each objective has data", all_have_data, 60)


def test_what_proxies_and_apps_log_of_a_request_is_in_one_place_and_in_loki(full: Project) -> None:
    def logged(*words: str) -> list[dict[str, Any]]:
        command = ("python3", "-m", "legation.cli.main", "logs", "--state", "/state", "-o", "json", *words)
        said: list[dict[str, Any]] = json.loads(full.docker("exec", full.first("legation-telemetry").name, *command))[
            "records"
        ]
        return said

    def kinds(records: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(record["kind"], record["service"]) for record in records}

    mark = secrets.token_hex(8)
    ordered = httpx.post(f"{full.url}orders?mark={mark}", json={"item": "tea"}, trust_env=False, timeout=20)
    assert ordered.status_code == 201, ordered.text
    wanted = {("access", hop) for hop in HOPS} | {("app", "orders")}
    wait_for("the gateway's record", lambda: logged("--text", mark), 20)
    trace = logged("--text", mark)[0]["trace"]
    wait_for("all of one request", lambda: kinds(logged("--trace", trace)) >= wanted, 30)

    def in_loki() -> bool:
        query = f'{{service_name=~".+"}} | trace_id="{trace}"'
        found = ask(full, "LOKI", "/loki/api/v1/query_range", query=query, limit="100") or {"data": {"result": []}}
        streams = [stream["stream"] for stream in found["data"]["result"]]
        return {(stream["kind"], stream["service_name"]) for stream in streams} >= wanted

    wait_for("the same in Loki", in_loki, 60)


def test_a_service_follows_its_load(full: Project, tmp_path: Path) -> None:
    """By a telemetry on the host, as none in a container may start others."""
    control = full.docker("volume", "inspect", "-f", "{{.Mountpoint}}", f"{NAME}_legation-reading").strip()
    words = ["--control", str(tmp_path / "t.sock"), "--xds-control", f"{control}/xds_server.sock", "--port", "0"]
    words += ["--compose-files", ":".join(FILES), "--autoscale-interval", "1"]
    command = [sys.executable, "-m", "telemetry", *words]
    env = {**full.env, "COMPOSE_PROJECT_NAME": NAME, "PYTHONPATH": str(ROOT)}

    def scaled() -> bool:
        assert get("/proxy/catalog/items", 300).keys() == {200}
        return sum(c.service == "catalog" and c.running for c in full.containers()) > 1

    with many(full) as get, subprocess.Popen(command, env=env, cwd=ROOT / "compose") as scaler:
        try:
            wait_for("another catalog", scaled, 90)
        finally:
            scaler.terminate()


def test_the_mesh_network_still_bears_no_plain_text(full: Project) -> None:
    """Spans and logs bear the paths of requests: they go over other networks, and over sockets."""
    marker = "anotherSecretThatNobodyMayRead"
    mesh, observed = (Capture(full.bridge(f"legation-{network}")) for network in ("mesh", "observe"))
    with mesh, observed:
        for number in range(40):  # one in ten is traced
            assert full.get(f"/proxy/orders/hits?key={marker}{number}").status_code == 200
        wait_for("a span of one", lambda: marker.encode() in observed.seen(), 20)
    assert len(mesh.seen()) > 1000
    assert marker.encode() not in mesh.seen()


def test_no_program_around_the_mesh_reaches_an_app(full: Project) -> None:
    ports = {**APPS, "limiter": 8081, "redis": 6379}
    for service, reached in full.reached(ports):
        assert reached == ({service} if service in ports else set()), service


def test_what_is_published_is_on_loopback_but_the_gateway(full: Project) -> None:
    published = {c.service for c in full.containers() if c.published}
    assert published == {
        "legation-gateway",
        *(f"legation-{part}" for part in ("telemetry", "prometheus", "alertmanager", "jaeger", "loki")),
    }


def test_a_limit_holds_for_all_instances_together(full: Project) -> None:
    """The last one that orders anything: for up to a minute nobody can."""
    with many(full) as get:
        codes = get("/proxy/orders/hits", 700)
    assert codes.keys() == {200, 429}, codes
    assert full.get("/proxy/catalog/items").status_code == 200


def test_down_with_v_forgets_all(project: Project) -> None:
    project.compose("--profile", "full", "down", "-v")
    assert project.left() == []
