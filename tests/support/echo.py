"""One more service in a running shop, which the gateway exposes too: it says back what reached it (echo.js)."""

import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from legation.sidecar import report
from tests.support.mesh import PLAIN, Mesh, wait_for

SERVICE = """
  echo:
    protocol: http
    port: 8080
    health_check: {path: /well, interval: 250ms}
"""
WORKLOADS = """
  - {service: echo, version: v1, instances: 2, command: [node, echo.js]}
  - {service: echo, version: v2, command: [node, echo.js]}
"""
APP = Path(__file__).parent / "echo.js"


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])


def added(text: str, service: str, workloads: str = "") -> str:
    """Return the shop's mesh.yaml with one more service and its workloads, each as indented YAML."""
    before, mark, after = text.partition("\nworkloads:\n")
    assert mark, "the shop's file has workloads"
    return f"{before}\n{service}{mark}{workloads}{after}"


@dataclass(frozen=True)
class Echo:
    """The service in a running shop."""

    mesh: Mesh
    shop: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def text(self, fields: str = "", workloads: str = WORKLOADS) -> str:
        """Return the mesh.yaml of a shop with echo; `fields` are more of its service's."""
        return added(self.shop, f"{SERVICE}    expose: {{port: {self.port}}}\n{fields}\n", workloads)

    def apply(self, fields: str = "", workloads: str = WORKLOADS) -> None:
        """Have echo so from now on."""
        if self.mesh.file.read_text() != self.text(fields, workloads):
            self.mesh.write(self.text(fields, workloads))

    def request(self, method: str, path: str, **headers: str) -> httpx.Response:
        """Send one request through the gateway; `x_case="a"` is the header x-case."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(method, self.url + path, headers=sent, timeout=30, trust_env=False, verify=PLAIN)

    def answered(self, count: int, path: str = "/", **headers: str) -> list[str]:
        """Return which instances answered so many requests, one after the other on one connection."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(base_url=self.url, headers=sent, timeout=30, trust_env=False, verify=PLAIN) as client:
            return [client.get(path).raise_for_status().headers["x-instance"] for _ in range(count)]


def asked(count: int, url: str, workers: int = 4, **headers: str) -> list[httpx.Response]:
    """Return so many answers, over a few connections at once."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    client = httpx.Client(headers=sent, timeout=30, trust_env=False, verify=PLAIN)
    with client, ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda _: client.get(url), range(count)))


def app_url(mesh: Mesh, instance: str) -> str:
    """Return where an instance's app itself listens, past its sidecar: for what a test asks of the app."""
    said = report.read(mesh.state / "instances" / instance)
    assert said is not None, instance
    return f"http://127.0.0.1:{said.spec.app_port}"


def app(mesh: Mesh, instance: str, method: str, path: str) -> Any:
    """Ask an instance's app itself; return its JSON."""
    answer = httpx.request(method, app_url(mesh, instance) + path, timeout=20, trust_env=False, verify=PLAIN)
    return answer.raise_for_status().json()


def hits(mesh: Mesh, service: str, key: str) -> int:
    """Return how many attempts under a key came to all of a service's instances, by the apps' own count."""
    return sum(app(mesh, i, "GET", f"/hits?key={key}")["hits"] for i in mesh.instances(service))


def shares(instances: list[str]) -> dict[str, float]:
    return {instance: count / len(instances) for instance, count in Counter(instances).items()}


@contextmanager
def echo_in(mesh: Mesh, fields: str = "") -> Iterator[Echo]:
    """Add echo to a running shop while the block runs."""
    shutil.copy(APP, mesh.folder / "echo.js")
    echo = Echo(mesh, mesh.file.read_text(), free_port())
    echo.apply(fields)
    wait_for("echo answers", lambda: answers(echo.url), 30)
    try:
        yield echo
    finally:
        mesh.write(echo.shop)


def answers(url: str) -> bool:
    """Say whether something answers at a URL with 200."""
    try:
        return httpx.get(url, timeout=10, trust_env=False, verify=PLAIN).status_code == 200
    except httpx.HTTPError:
        return False
