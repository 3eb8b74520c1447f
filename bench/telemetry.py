"""telemetry: what being measured and traced costs requests, and a Prometheus; how long rules and dashboards take."""

import asyncio
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench import sidecars, traffic_mesh
from bench.dataplane import Side, answers, cases_of, compared, measure
from bench.h2load import INSTALL, Load
from bench.report import Figure, Goal
from dashboards.render import render_grafana
from legation.mesh import names
from legation.mesh.load import load
from telemetry.rules.render import Target, render_prometheus
from tests.xds_server.compile.fleet import Fleet

SERVICES, CALLS, ROUNDS = 1_000, 5, 3
_RPS, _P99 = Goal(0.95, ">= 0.95 x peer", least=True), Goal(1.1, "<= 1.1 x peer")
_SECONDS = Goal(2, "<= 2 s", absolute=True)
_SERIES = Goal(200, "<= 200", absolute=True)
_TRACED = f"tracing: {{otlp: {{host: {sidecars.address(0)}, port: {sidecars.APP_PORT}}}, sampling: 1, mode: MODE}}\n"
PROFILES = ("standard", "full")
_TOLD = {
    "standard": ("standard", "client_and_server"),
    "served": ("standard", "server"),
    "full": ("full", "client_and_server"),
}
"""What mesh.yaml says in each case of `requests`: the profile of metrics, and who makes spans."""


async def figures(seconds: int) -> AsyncIterator[Figure]:
    """Yield all figures."""
    for measured in (rendering, scrapes):
        for figure in await asyncio.to_thread(list, measured()):
            yield figure
    for case in _TOLD:
        async for figure in requests(case, seconds):
            yield figure


def rendering() -> Iterator[Figure]:
    """Render for a mesh of 1,000 services, each time in a process of its own."""
    for what in ("load", "grafana", "prometheus"):
        runs = [_in_a_process(what) for _ in range(ROUNDS)]
        note = f"{SERVICES} services of {CALLS} calls each; {max(memory for _, memory in runs)} MB at its most"
        yield Figure("telemetry", f"render-{what}-{SERVICES}", "s", [took for took, _ in runs], [], _SECONDS, note)


def _in_a_process(what: str) -> tuple[float, int]:
    argv = [sys.executable, "-m", "bench.telemetry", what]
    took, memory = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return float(took), int(memory)


def _one(what: str) -> None:
    """Load, or render, once; print the seconds and the most memory in MB."""
    text = _mesh(SERVICES)
    began = time.perf_counter()
    mesh = load(text, "mesh.yaml").mesh
    if what != "load":
        began = time.perf_counter()
        render_grafana(mesh) if what == "grafana" else render_prometheus(mesh, Target("http://127.0.0.1:1/sd"))
    took = time.perf_counter() - began
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def _mesh(number: int) -> str:
    lines = [f"mesh: bench\ntrust_domain: {sidecars.TRUST_DOMAIN}\nservices:"]
    for i in range(number):
        calls = ", ".join(f"s{(i + k) % number}" for k in range(1, CALLS + 1))
        slo = "slo: {availability: 99.9}, autoscale: {max: 3, in_flight: 5}"
        lines.append(f"  s{i}: {{protocol: http, port: 8080, calls: [{calls}], {slo}}}")
    return "\n".join(lines) + "\n"


def scrapes() -> Iterator[Figure]:
    """Scrape a sidecar that calls five services, by profile; the peer counts whatever Envoy can."""
    found = {profile: _scrape(profile) for profile in PROFILES}
    peer = found["full"]
    for profile, (series, size) in found.items():
        goal = _SERIES if profile == "standard" else None
        note = f"a sidecar with {CALLS} calls, each of them made"
        yield Figure("telemetry", f"series-{profile}", "series", [series], [peer[0]], goal, note)
        yield Figure("telemetry", f"scrape-{profile}", "kB", [size / 1000], [peer[1] / 1000], None, note)


def _scrape(profile: str) -> tuple[int, int]:
    called = [f"c{i}" for i in range(CALLS)]
    routes = "routes: [{timeout: 200ms}]"
    services = "".join(f"  {name}: {{protocol: http, port: 8080, {routes}}}\n" for name in called)
    text = (
        f"mesh: bench\ntrust_domain: bench.local\nmetrics: {{profile: {profile}}}\nservices:\n"
        f"  web: {{protocol: http, port: 8080, calls: [{', '.join(called)}]}}\n{services}"
    )
    with TemporaryDirectory() as folder:
        fleet = Fleet(text, Path(folder))
        fleet.add("web")
        with fleet.running():
            for name in called:
                httpx.get(f"http://{fleet.outbound('web-v1', name)}/", trust_env=False)
            url = f"http://{fleet.nodes['web-v1'].address}:{names.METRICS_PORT}/stats/prometheus"
            deadline = time.monotonic() + 20
            while True:
                answer = httpx.get(url, trust_env=False).text
                if answer.count("downstream_rq_time_count") > CALLS or time.monotonic() > deadline:
                    break
    lines = [line for line in answer.splitlines() if line and not line.startswith("#")]
    return len(lines), len(answer)


async def requests(case: str, seconds: int) -> AsyncIterator[Figure]:
    """Send requests through a pair that counts by a profile and traces 1 %, and through one that does neither."""
    goals = (_RPS, _P99) if case == "standard" else (None, None)
    if not shutil.which("h2load"):
        for name, unit, goal in zip(cases_of(f"{case}-http1", goals), ("1/s", "ms"), goals, strict=True):
            yield Figure("telemetry", name, unit, [], [], goal, INSTALL)
        return
    plain = traffic_mesh.text(traffic_mesh.GROUPS["plain"], "http1")
    profile, mode = _TOLD[case]
    told = f"{plain}metrics: {{profile: {profile}}}\n{_TRACED.replace('MODE', mode)}"
    with TemporaryDirectory() as name:
        async with AsyncExitStack() as stack:
            folder = Path(name)
            (folder / "peer").mkdir()
            await stack.enter_async_context(sidecars.app(folder, "{}"))
            our = await stack.enter_async_context(sidecars.ours(folder, told))
            their = await stack.enter_async_context(sidecars.ours(folder / "peer", plain, slot=4, change=_unseen))
            asked = traffic_mesh.headers("http1", "none")
            ours, peer = (Side(pair, Load(pair.url + traffic_mesh.PATH, "http1", asked, None)) for pair in (our, their))
            for side in (ours, peer):
                await answers(side)
            await measure(ours, peer, seconds, folder / "h2load.log")
    for figure in compared("telemetry", f"{case}-http1", ours, peer, goals):
        yield figure


def _unseen(started: dict[str, Any]) -> dict[str, Any]:
    """Return what an Envoy starts with, without a single counter; its mesh has no traces."""
    return {**started, "stats_config": {"stats_matcher": {"reject_all": True}}}


if __name__ == "__main__":
    _one(sys.argv[1])
