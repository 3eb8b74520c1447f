"""The shop with a Prometheus that scrapes it, and customers: orders fails them for the second half of the time."""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from telemetry.rules.objectives import seconds
from tests.support.mesh import Mesh as Running
from tests.support.mesh import legation, running, wait_for
from tests.xds_server.serve.envoy import free_port

SHORTER = 10
"""How many times shorter rules' windows are, so that some minutes show what else takes an hour."""

PACE = 0.03
"""Seconds between two requests of all customers."""


@dataclass(frozen=True)
class Shop:
    """A mesh, its Prometheus, one of its instances, and the time that was watched (Unix seconds)."""

    mesh: Mesh
    prometheus: str
    instance: str
    begin: float
    end: float


@contextmanager
def watched(folder: Path, lasting: float) -> Iterator[Shop]:
    """Run all of it for some time; yields what can then be asked."""
    with running(folder) as shop:
        words = ("-f", str(shop.file), "--state", str(shop.state))
        legation("render", "prometheus", str(folder / "out"), *words)
        with _prometheus(folder / "out") as url:
            wait_for("targets", lambda: _count(url, "up") >= 8 or None, 60)
            begin = time.time() + 40  # when each rate has what it is over
            _trade(shop, lasting)
            text = shop.file.read_text()
            instance = min(shop.instances("orders"))
            yield Shop(load(text, "mesh.yaml").mesh, url, instance, begin, time.time())


def _count(url: str, query: str) -> int:
    try:
        found = httpx.get(f"{url}/api/v1/query", params={"query": f"count({query})"}, trust_env=False).json()
    except httpx.TransportError:
        return 0
    return int(found["data"]["result"][0]["value"][1]) if found["data"]["result"] else 0


@contextmanager
def _prometheus(folder: Path) -> Iterator[str]:
    """Run a Prometheus on the rendered files; it looks every two seconds, and the windows of its rules are short."""
    config = folder / "prometheus.yaml"
    config.write_text(re.sub(r"\b1[05]s\b", "2s", config.read_text()))
    for rules in folder.glob("rules/*.rules.yaml"):
        text = rules.read_text().replace("interval: 1m", "interval: 2s").replace("offset 5m", "offset 30s")
        rules.write_text(re.sub(r"\[(\d+[mhd])\]", lambda window: f"[{seconds(window[1]) // SHORTER}s]", text))
    at = f"127.0.0.1:{free_port()}"
    words = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={at}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *words], stdout=log, stderr=log)  # noqa: S607 - Debian's
    try:
        yield f"http://{at}"
    finally:
        process.kill()
        process.wait()


def _trade(shop: Running, lasting: float) -> None:
    """Have customers come; change mesh.yaml after a quarter of the time, and let orders fail from its half on."""
    pacing, begun, number = threading.Event(), time.monotonic(), 0
    changed = False
    with ThreadPoolExecutor(8) as customers, httpx.Client(base_url=shop.gateway, timeout=10, trust_env=False) as client:
        while (passed := time.monotonic() - begun) < lasting:
            if passed > lasting / 2.5 and not changed:
                changed = True
                shop.save(shop.file.read_text().replace("{v1: 90, v2: 10}", "{v1: 50, v2: 50}"))
            number += 1
            customers.submit(_visit, client, number, failing=passed > lasting / 1.7)
            pacing.wait(PACE)


def _visit(client: httpx.Client, number: int, *, failing: bool) -> None:
    """Be one customer: most look, some buy, one is poor, one tries what is not allowed, and one meets a fault."""
    visits: list[Callable[[], httpx.Response]] = [
        lambda: client.get("/"),
        lambda: client.post("/orders", json={"item": "tea"}),
        lambda: client.get("/proxy/catalog/items"),
        lambda: client.get("/proxy/catalog/slow", params={"ms": 20 + number % 50}),
        lambda: client.get("/proxy/orders/fail", params={"code": 503, "times": 1, "key": number}),
    ]
    rare: dict[int, Callable[[], httpx.Response]] = {
        7: lambda: client.post("/orders", json={"item": "coffee", "quantity": 100}),
        19: lambda: client.post("/proxy/catalog/items"),
        **({23: lambda: client.get("/proxy/orders/slow", params={"ms": 900})} if not number % 7 else {}),
        **(
            {n: lambda: client.get("/proxy/orders/fail", params={"code": 503}) for n in (2, 12, 22, 32)}
            if failing
            else {}
        ),
    }
    visit = rare.get(number % 40) or visits[(number * 7) % len(visits)]
    try:
        visit()
    except httpx.HTTPError as error:
        print(f"a customer left: {error!r}")  # noqa: T201 - seen by who makes pictures
