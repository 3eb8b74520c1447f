"""A real Jaeger for tests: every port of it on loopback, its traces as trees."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import go_tools
import httpx
import pytest

from tests.support.mesh import PLAIN, wait_for
from tests.xds_server.serve.envoy import free_port

_OTHERS = (
    "admin.http.", "collector.grpc-server.", "collector.http-server.", "collector.otlp.http.", "http-server.",
    "query.grpc-server.", "processor.jaeger-binary.server-", "processor.jaeger-compact.server-",
    "processor.zipkin-compact.server-",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A span in its tree."""

    service: str
    kind: str
    name: str
    tags: dict[str, str]
    process: dict[str, str]
    children: "list[Node]"
    start: float = 0.0
    """Seconds since the epoch."""

    def lines(self, depth: int = 0) -> list[str]:
        """The tree, a line a span; children by their lines, as the clock may not tell them apart."""
        below = sorted(child.lines(depth + 1) for child in self.children)
        return ["  " * depth + f"{self.service} {self.kind} {self.name}", *(line for lines in below for line in lines)]


class Jaeger:
    """One that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", otlp: int, query: str) -> None:
        self._process, self.otlp, self.query = process, otlp, query

    def trace(self, trace: str, count: int, limit: float) -> Node | None:
        """Return a trace's tree once it has this many spans; None where it has not got them in time."""
        try:
            return _tree(wait_for(f"{count} spans of {trace}", lambda: self._found(trace, count), limit))
        except AssertionError:
            return None

    def work(self, service: str, name: str) -> list[Node]:
        """Return the trees of the newest traces of a service of ours that have a span of this name."""
        words = {"service": service, "operation": name, "limit": "20"}
        found = httpx.get(f"{self.query}/api/traces", params=words, trust_env=False, verify=PLAIN).json()["data"]
        return [_tree(trace) for trace in found]

    def hang(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.query}/api/services", trust_env=False, verify=PLAIN).status_code == 200
        except httpx.TransportError:
            return False

    def _found(self, trace: str, count: int) -> "dict[str, Any] | None":
        data = httpx.get(f"{self.query}/api/traces/{trace}", trust_env=False, verify=PLAIN).json()["data"]
        return data[0] if data and len(data[0]["spans"]) >= count else None


@contextmanager
def jaeger(folder: Path) -> Iterator[Jaeger]:
    """Run one; skip where it cannot be built, but not in CI."""
    try:
        program = go_tools.build("jaeger")
    except go_tools.CannotBuild as error:
        pytest.skip(str(error))
    otlp, query = free_port(), free_port()
    ports = dict.fromkeys(_OTHERS, 0) | {"collector.otlp.grpc.": otlp, "query.http-server.": query}
    words = [f"--{name}host-port=127.0.0.1:{port}" for name, port in ports.items()]
    with (folder / "jaeger.log").open("wb") as log:
        process = subprocess.Popen([program, *words], stdout=log, stderr=log, cwd=folder)
    try:
        running = Jaeger(process, otlp, f"http://127.0.0.1:{query}")
        wait_for("Jaeger is ready", lambda: running.is_ready() or None, 60)
        yield running
    finally:
        process.kill()
        process.wait()


def _tree(found: dict[str, Any]) -> Node:
    nodes, parents = {}, {}
    for span in found["spans"]:
        process, tags = found["processes"][span["processID"]], _texts(span["tags"])
        nodes[span["spanID"]] = Node(
            service=process["serviceName"],
            kind=tags.get("span.kind", "internal"),
            name=span["operationName"],
            tags=tags,
            process=_texts(process["tags"]),
            children=[],
            start=span["startTime"] / 1e6,
        )
        parents[span["spanID"]] = next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), "")
    for span, parent in sorted(parents.items(), key=lambda one: nodes[one[0]].start):
        if parent in nodes:
            nodes[parent].children.append(nodes[span])
    (root,) = [nodes[span] for span, parent in parents.items() if parent not in nodes]
    return root


def _texts(tags: list[dict[str, Any]]) -> dict[str, str]:
    return {tag["key"]: str(tag["value"]) for tag in tags}
