"""Every query that we ship, against a real Prometheus that scraped real Envoys through our discovery."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

import dashboards.render
import telemetry.rules.render
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.runtime.clock import WallClock
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import TelemetryStatus
from legation.runtime.prometheus import Prometheus
from legation.runtime.tasks import until
from telemetry.autoscale.actuator import HostRunner
from telemetry.autoscale.kubernetes import render_kubernetes
from telemetry.autoscale.queries import policy_queries
from telemetry.autoscale.sources import FromPrometheus, Sidecars
from telemetry.rules.render import Target, render_prometheus
from telemetry.service import run
from telemetry.settings import Settings
from tests.support.mesh import PLAIN
from tests.support.promql import all_answered, empty_queries, manifest_queries
from tests.telemetry.fleet import Fleet
from tests.telemetry.registry import Registry
from tests.telemetry.scale_host import CORES, scale_host
from tests.xds_server.compile.fleet import address
from tests.xds_server.serve.envoy import app, free_port

PROMETHEUS = shutil.which("prometheus") or ""
LIMIT = 60.0
NOBODY = "127.0.0.1:1"
"""Where no Alertmanager is: alerts of a test are no business of one that runs on this host."""
GATEWAY, WEB, ORDERS = address(60), address(61), address(62)
TEXT = f"""
mesh: shop
trust_domain: shop.local
services:
  web: {{protocol: http, port: 8080, calls: [orders], expose: {{port: 18080, address: {GATEWAY}}}}}
  orders:
    protocol: http
    port: 8080
    routes: [{{split: {{v1: 100}}, timeout: 2s, retry: {{retry_on: [5xx], num_retries: 3, base_interval: 1ms}}}}]
    slo: {{availability: 99.9, latency: {{threshold: 500ms, objective: 99}}}}
    autoscale: {{max: 5, requests_per_second: 100, in_flight: 10, latency: 500ms, cpu: 80}}
workloads:
  - {{service: orders, version: v1, command: [node]}}
"""
ORDERS_PORT = names.outbound_ports(["orders"], {})["orders"]
pytestmark = pytest.mark.skipif(not PROMETHEUS, reason="no prometheus on the PATH: apt-get install prometheus")


def node(service: str, at: str, app_port: int) -> InstanceSpec:
    return InstanceSpec(f"{service}-v1-0", service, "v1", "1", at, names.INBOUND_PORT,
                app_port=app_port, metrics_port=names.METRICS_PORT)  # fmt: skip


@asynccontextmanager
async def telemetry_of(fleet: Fleet, folder: Path) -> AsyncIterator[str]:
    """Run telemetry beside a fleet; yields the discovery URL."""
    registry = Registry(*fleet.instances(), mesh=TEXT)
    settings = Settings(
        control=folder / "telemetry.sock",
        xds_control=folder / "xds.sock",
        port=0,
        host_control=folder / "host.sock",
        autoscale_interval=1.0,
    )
    async with registry.serving(settings.xds_control), scale_host(folder / "host.sock", "orders", "orders-v1-0"):
        task = asyncio.ensure_future(run(settings, WallClock()))
        client = ControlClient(settings.control)
        try:
            assert await until(lambda: is_ready(client), LIMIT)
            yield (await client.get("/status", TelemetryStatus)).discovery_url
        finally:
            task.cancel()
            await asyncio.wait([task])


async def is_ready(client: ControlClient) -> bool:
    try:
        return (await client.get("/status", TelemetryStatus)).ready
    except ControlError:
        return False


@asynccontextmanager
async def prometheus(
    folder: Path, fleet: Fleet, discovery_url: str, change: Callable[[str], str] = str, **more: Any
) -> AsyncIterator[str]:
    """Run a Prometheus on what we render, changed for a test; yields its URL."""
    interval = timedelta(seconds=2)  # also a scrape's time limit, on a machine that is busy with other tests
    components = {"telemetry": httpx.URL(discovery_url).netloc.decode()}
    paces = {"scrape_interval": interval, "evaluation_interval": timedelta(seconds=1)}
    target = Target(discovery_url, components, **(paces | {"alertmanager": NOBODY} | more))
    for name, text in render_prometheus(fleet.mesh, target).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(change(text.replace("interval: 1m", "interval: 1s")))
    at = f"127.0.0.1:{free_port()}"
    command = [PROMETHEUS, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
               f"--web.listen-address={at}"]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        assert await until(lambda: answers(f"http://{at}/-/ready"), LIMIT), (folder / "prometheus.log").read_text()
        yield f"http://{at}"
    finally:
        process.kill()
        await process.wait()


async def answers(url: str) -> bool:
    async with httpx.AsyncClient(verify=PLAIN) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.TransportError:
            return False


async def send(client: httpx.AsyncClient) -> None:
    """Send some requests: to web from outside, to orders from web's side."""
    for url in (f"http://{GATEWAY}:18080/", f"http://{WEB}:{ORDERS_PORT}/"):
        for _ in range(10):
            answer = await client.get(url)
            assert answer.status_code == 200, f"{url}: {answer.text}"


async def serves(client: httpx.AsyncClient) -> bool:
    try:
        await send(client)
    except (httpx.TransportError, AssertionError):
        return False
    return True


async def ask(url: str, query: str) -> list[dict]:
    async with httpx.AsyncClient(base_url=url, verify=PLAIN) as client:
        return (await client.get("/api/v1/query", params={"query": query})).json()["data"]["result"]


async def one(url: str, query: str) -> float:
    (series,) = await ask(url, query)
    return float(series["value"][1])


async def labels(url: str, query: str) -> list[dict[str, str]]:
    return [series["metric"] for series in await ask(url, query)]


def sent_by(fleet: Fleet, service: str) -> str:
    """The query of the panel of what a service sends, as Grafana sends it."""
    (found,) = [
        q for where, q in dashboards.render.queries(fleet.mesh) if where.endswith(f"/Requests sent of {service}")
    ]
    return found


async def firing(url: str) -> list[str]:
    async with httpx.AsyncClient(base_url=url, verify=PLAIN) as client:
        found = (await client.get("/api/v1/alerts")).json()["data"]["alerts"]
    return [str(alert["labels"]) for alert in found if alert["state"] == "firing"]


class Moody:
    """An app whose every second answer is a 503, but that of a POST every one; `/slow` takes its time."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.asked += 1
                method, path, _ = head.split(" ", 2)
                if path == "/slow":
                    await reader.read()  # until the other end gives up
                sick = method == "POST" or self.asked % 2
                status = "503 Service Unavailable" if sick else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()


async def give_up(url: str) -> None:
    """Send a request and break it off."""
    with contextlib.suppress(httpx.TimeoutException):
        async with httpx.AsyncClient(timeout=0.3, verify=PLAIN) as client:
            await client.get(url)


def test_the_objective_counts_what_callers_get(tmp_path):
    """Half of all attempts fail and every request is answered; then some fail, and some are given up."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            moody = Moody()
            server = await asyncio.start_server(moody.answer, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            orders = server.sockets[0].getsockname()[1]
            fleet = Fleet(TEXT, [node("web", WEB, 0), node("orders", ORDERS, orders)], tmp_path)
            await stack.enter_async_context(fleet.running())
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=10, verify=PLAIN))
            to_orders = f"http://{WEB}:{ORDERS_PORT}"
            assert await until(lambda: answers(to_orders), LIMIT), "no request came through"
            discovery = await stack.enter_async_context(telemetry_of(fleet, tmp_path))
            url = await stack.enter_async_context(prometheus(tmp_path, fleet, discovery))

            errors = 'service:mesh_errors:rate5m{service="orders"}'
            burn = 'service:mesh_slo_burn:rate1h{service="orders",slo="availability"}'

            async def counted(query: str, enough: float) -> bool:
                found = await ask(url, query)
                return bool(found) and float(found[0]["value"][1]) >= enough

            assert await until(lambda: counted('service:mesh_requests:rate5m{service="orders"}', 0), LIMIT)
            for _ in range(100):
                assert (await client.get(f"{to_orders}/")).status_code == 200
            failed = 'sum(rate(envoy_http_downstream_rq_xx{envoy_response_code_class="5",PREFIX}[5m]))'
            prefix = 'envoy_http_conn_manager_prefix="inbound",service="orders"'
            assert await until(lambda: counted(failed.replace("PREFIX", prefix), 0.1), LIMIT), "attempts failed"
            for query in (errors, burn):
                assert await until(partial(counted, query, 0), LIMIT), f"Prometheus evaluates {query}"
                assert await one(url, query) == 0, "no caller saw a failure"
            assert [alert for alert in await firing(url) if "Burn" in alert] == []

            for _ in range(20):
                assert (await client.post(f"{to_orders}/")).status_code == 503
            await asyncio.gather(*(give_up(f"{to_orders}/slow") for _ in range(20)))
            given_up = 'service:mesh_given_up:rate5m{service="orders"} * 300'
            assert await until(lambda: counted(given_up, 10), LIMIT), "requests that were given up are counted"
            assert await until(lambda: counted(f"{errors} * 300", 30), LIMIT), "both are failures"
            slow = 'service:mesh_slo_bad:rate5m{service="orders",slo="latency"} * 300'
            assert await until(lambda: counted(slow, 10), LIMIT), "what is given up is slow"
            assert await until(lambda: pages(url, "MeshErrorBudgetBurn1h"), LIMIT), await firing(url)

    asyncio.run(main())


async def wait(client: httpx.AsyncClient, url: str) -> None:
    """Have one request in flight, again and again."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            await client.get(url)


async def pages(url: str, alert: str) -> bool:
    return any(alert in labels for labels in await firing(url))


def test_every_query_that_we_ship_has_data(tmp_path):
    async def main() -> None:
        async with AsyncExitStack() as stack:
            web, orders = [await stack.enter_async_context(app(name)) for name in ("web", "orders")]
            nodes = [node(names.GATEWAY, GATEWAY, 0), node("web", WEB, web), node("orders", ORDERS, orders)]
            fleet = Fleet(TEXT, nodes, tmp_path)
            await stack.enter_async_context(fleet.running())
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=10, verify=PLAIN))
            assert await until(lambda: serves(client), LIMIT), "no request came through"
            discovery = await stack.enter_async_context(telemetry_of(fleet, tmp_path))
            url = await stack.enter_async_context(prometheus(tmp_path, fleet, discovery))
            queries = telemetry.rules.render.queries(fleet.mesh) + dashboards.render.queries(fleet.mesh)
            queries += policy_queries(fleet.mesh) + manifest_queries(render_kubernetes(fleet.mesh))
            assert len(queries) > 100
            queries = [
                (where, query)
                for where, query in queries
                if not re.search("certmgr_|xds_[a-z]|process_|mesh_change_", query)
            ]

            async def all_have_data() -> bool:
                await send(client)
                return await asyncio.to_thread(all_answered, url, queries)

            assert await until(all_have_data, LIMIT, every=0.5), "\n".join(map(str, queries))
            nothing = [("none", 'up{mesh="none"}'), ("nan", "vector(0)/0")]
            assert await asyncio.to_thread(empty_queries, url, nothing) == nothing
            ours = [alert for alert in await firing(url) if "MeshTrustBundleExpires" not in alert]
            assert ours == [], "but that the tests' CA lives for a day"
            assert await one(url, 'count(up{component="telemetry"})') == 1, "telemetry is scraped twice"
            assert await one(url, 'service:mesh_requests:rate5m{service="legation-gateway"}') > 0
            assert {label["destination"] for label in await labels(url, sent_by(fleet, "web"))} == {"orders"}
            assert {label["destination"] for label in await labels(url, sent_by(fleet, "orders"))} == {"calls nobody"}

    asyncio.run(main())


def test_a_policy_is_read_from_sidecars_and_from_a_prometheus(tmp_path):
    """Both say the same of each metric, while requests come at a steady rate and some wait."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            moody = Moody()
            server = await stack.enter_async_context(await asyncio.start_server(moody.answer, "127.0.0.1", 0))
            orders = server.sockets[0].getsockname()[1]
            fleet = Fleet(TEXT, [node("web", WEB, 0), node("orders", ORDERS, orders)], tmp_path)
            await stack.enter_async_context(fleet.running())
            to_orders = f"http://{WEB}:{ORDERS_PORT}"
            assert await until(lambda: answers(to_orders), LIMIT), "no request came through"
            discovery = await stack.enter_async_context(telemetry_of(fleet, tmp_path))
            url = await stack.enter_async_context(prometheus(tmp_path, fleet, discovery))
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=10, verify=PLAIN))
            policy = fleet.mesh.services["orders"].autoscale
            assert policy is not None
            (workload,) = await HostRunner(tmp_path / "host.sock").look(["orders"])
            sidecars = Sidecars(lambda: [i for i in fleet.instances() if i.spec.service == "orders"])
            sources = (sidecars, FromPrometheus(Prometheus(url), "shop"))
            waiting = [asyncio.ensure_future(wait(client, f"{to_orders}/slow")) for _ in range(3)]
            seen: list[dict[str, float]] = []

            def near(one: float, other: float) -> bool:
                """A rate of a minute, in whose first seconds the load has begun, is less than one of a few seconds."""
                return 0 < one / 10 <= other <= one * 2

            async def agree() -> bool:
                for _ in range(10):
                    await client.get(to_orders)
                (now,) = await HostRunner(tmp_path / "host.sock").look(["orders"])
                readings = [await source.read(now, policy, WallClock().now()) for source in sources]
                seen[:] = [{str(metric): r.value or 0.0 for metric, r in found.items()} for found in readings]
                if not all(r.known and (r.reporting, r.expected) == (1, 1) for f in readings for r in f.values()):
                    return False
                alike = all(near(*(found[metric] for found in seen)) for metric in seen[0])
                return alike and all(found["in_flight"] == 3 for found in seen)

            assert await until(agree, LIMIT, every=0.25), seen
            assert seen[0]["cpu"] == pytest.approx(CORES, rel=0.2)
            for task in waiting:
                task.cancel()
            lost = FromPrometheus(Prometheus(f"http://127.0.0.1:{free_port()}"), "shop")
            for reading in (await lost.read(workload, policy, WallClock().now())).values():
                assert not reading.known
                assert "does not answer" in reading.why

    asyncio.run(main())
