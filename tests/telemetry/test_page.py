"""A fault, its page, and its end: real Envoys, a real Prometheus, a real Alertmanager, and a pager of ours.

All windows are a sixtieth of what they are, so that an hour is a minute.
"""

import asyncio
import contextlib
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.runtime.control.server import serve
from legation.runtime.tasks import pause, until
from telemetry.rules.alerts.budget import PACES
from telemetry.rules.objectives import objectives, seconds
from tests.support.mesh import PLAIN
from tests.telemetry.fleet import Fleet
from tests.telemetry.test_real_prometheus import (
    LIMIT,
    ORDERS,
    ORDERS_PORT,
    TEXT,
    WEB,
    answers,
    ask,
    node,
    prometheus,
    telemetry_of,
)
from tests.xds_server.serve.envoy import free_port

ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager") or ""
SCALE = 60
SHARE = 0.2
"""Of the requests to orders that fail."""

PAGE = "MeshErrorBudgetBurn1h"
pytestmark = pytest.mark.skipif(
    not ALERTMANAGER, reason="no Alertmanager here: apt-get install prometheus-alertmanager"
)


class Orders:
    """An app that fails each fifth request. What is tried again at once meets a good one, as nobody else asks."""

    def __init__(self) -> None:
        self.sick = False
        self.asked = self.failed = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                bad = self.sick and self.asked % round(1 / SHARE) == 0
                self.failed += bad
                status = "503 Service Unavailable" if bad else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()


class Pager:
    """What Alertmanager told whom, newest last."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def take(self, request: Request) -> Response:
        self.told.append((request.path_params["receiver"], await request.json()))
        return Response()

    def of(self, receiver: str, status: str, alert: str) -> list[dict[str, Any]]:
        """The alerts of one name that a receiver was told of in this status."""
        found = [one for to, message in self.told if to == receiver for one in message["alerts"]]
        return [one for one in found if one["status"] == status and one["labels"]["alertname"] == alert]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve it; yields the URL that receivers' names are put behind."""
        at = socket()
        at.bind(("127.0.0.1", 0))
        async with serve([at], [Route("/{receiver}", self.take, methods=["POST"])]):
            yield f"http://127.0.0.1:{at.getsockname()[1]}"


@asynccontextmanager
async def alertmanager(folder: Path, at: str, pager_url: str) -> AsyncIterator[None]:
    """Run an Alertmanager on the configuration that we render, with a pager for each of its receivers."""
    file = folder / "alertmanager.yaml"
    yaml = YAML()
    config = yaml.load(file)
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    config["receivers"] = [
        {"name": one["name"], "webhook_configs": [{"url": f"{pager_url}/{one['name']}"}]} for one in config["receivers"]
    ]
    with file.open("w") as out:
        yaml.dump(config, out)
    command = [ALERTMANAGER, f"--config.file={file}", f"--storage.path={folder / 'am'}",
               f"--web.listen-address={at}", "--cluster.listen-address="]  # fmt: skip
    with (folder / "alertmanager.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        assert await until(lambda: answers(f"http://{at}/-/ready"), LIMIT), (folder / "alertmanager.log").read_text()
        yield
    finally:
        process.kill()
        await process.wait()


def sooner(text: str) -> str:
    """Return rules whose windows are a sixtieth of ours."""

    def shorter(window: re.Match[str]) -> str:
        return f"[{seconds(window[1]) // SCALE}s]"

    return re.sub(r"offset 5m", "offset 5s", re.sub(r"\[(\d+[mhd])\]", shorter, text))


@asynccontextmanager
async def traffic(client: httpx.AsyncClient, method: str) -> AsyncIterator[list[int]]:
    """Send some 25 requests a second meanwhile; yields their statuses."""
    seen: list[int] = []

    async def send() -> None:
        while True:
            seen.append((await client.request(method, f"http://{WEB}:{ORDERS_PORT}/")).status_code)
            await pause(0.04)

    task = asyncio.ensure_future(send())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_a_fault_pages_in_time_and_one_that_retries_hide_does_not(tmp_path: Path) -> None:
    """20 % 503: nobody is told while each is mended by a retry; then callers see them, and then no more."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            app, pager, at = Orders(), Pager(), f"127.0.0.1:{free_port()}"
            server = await stack.enter_async_context(await asyncio.start_server(app.answer, "127.0.0.1", 0))
            fleet = Fleet(
                TEXT, [node("web", WEB, 0), node("orders", ORDERS, server.sockets[0].getsockname()[1])], tmp_path
            )
            await stack.enter_async_context(fleet.running())
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=10, trust_env=False, verify=PLAIN))
            assert await until(lambda: answers(f"http://{WEB}:{ORDERS_PORT}/"), LIMIT), "no request came through"
            discovery = await stack.enter_async_context(telemetry_of(fleet, tmp_path))
            paces = {"scrape_interval": timedelta(seconds=1), "alertmanager": at}
            url = await stack.enter_async_context(prometheus(tmp_path, fleet, discovery, sooner, **paces))
            pager_url = await stack.enter_async_context(pager.serving())
            await stack.enter_async_context(alertmanager(tmp_path, at, pager_url))

            async def above(query: str, limit: float) -> bool:
                found = await ask(url, query)
                return bool(found) and float(found[0]["value"][1]) > limit

            async def hidden() -> bool:
                return app.failed > 40

            async def told(status: str) -> bool:
                return bool(pager.of("pages", status, PAGE))

            app.sick = True
            attempts = (
                'sum(rate(envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix="inbound",service="orders"}[5s]))'
            )
            failing = attempts.replace('service="orders"', 'service="orders",envoy_response_code_class="5"')
            async with traffic(client, "GET") as seen:
                assert await until(lambda: above(f"{failing} / {attempts}", SHARE / 3), LIMIT), "attempts fail"
                assert await until(hidden, LIMIT)
            assert set(seen) == {200}, "each was mended"
            assert [message for to, message in pager.told if to == "pages"] == [], "and nobody was woken"

            begun = time.time()
            async with traffic(client, "POST") as seen:
                paged = await until(partial(told, "firing"), LIMIT)
                assert paged, (await ask(url, "ALERTS"), pager.told)
                took = time.time() - begun
                assert seen.count(503) > 0
            long, short = (seconds(window) / SCALE for window in (PACES[0].long, PACES[0].short))
            budget = objectives(fleet.mesh)["orders", "availability"]
            due = PACES[0].factor * budget / SHARE * long + short
            assert took < due + 10, "and some for the scrape, the rules and Alertmanager"
            (alert,) = [one for one in pager.of("pages", "firing", PAGE) if one["labels"]["slo"] == "availability"][:1]
            assert alert["labels"]["service"] == "orders"
            assert alert["annotations"]["runbook_url"].endswith(f"/{PAGE}.md")
            assert "/d/shop-slo?var-service=orders" in alert["annotations"]["dashboard_url"]

            app.sick = False
            async with traffic(client, "POST"):
                assert await until(partial(told, "resolved"), LIMIT), "it is over"
            keys = {message["groupKey"] for to, message in pager.told if to == "pages"}
            assert len(keys) == 1, "one cause, one incident"

    asyncio.run(main())
