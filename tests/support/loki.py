"""A real Loki for tests: every port of it on loopback."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import go_tools
import httpx
import pytest

from tests.support.mesh import PLAIN, wait_for
from tests.xds_server.serve.envoy import free_port

_SETTINGS = """
auth_enabled: false
server:
  {http_listen_address: 127.0.0.1, http_listen_port: HTTP, grpc_listen_address: 127.0.0.1, grpc_listen_port: GRPC}
common:
  instance_addr: 127.0.0.1
  path_prefix: FOLDER
  storage: {filesystem: {chunks_directory: FOLDER/chunks, rules_directory: FOLDER/rules}}
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
schema_config:
  configs:
    - {from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
ingester: {lifecycler: {min_ready_duration: 0s, final_sleep: 0s}}
analytics: {reporting_enabled: false}
"""


class Loki:
    """One that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", at: str) -> None:
        self._process, self.at = process, at

    @property
    def otlp(self) -> str:
        return f"{self.at}/otlp/v1/logs"

    def find(self, query: str) -> list[tuple[dict[str, str], str]]:
        """Return the labels and the line of each record of the last hour that a LogQL query finds."""
        answer = httpx.get(
            f"{self.at}/loki/api/v1/query_range", params={"query": query, "limit": 100}, trust_env=False, verify=PLAIN
        )
        found: list[dict[str, Any]] = answer.json()["data"]["result"] if answer.status_code == 200 else []
        return [(stream["stream"], line) for stream in found for _, line in stream["values"]]

    def hang(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.at}/ready", trust_env=False, verify=PLAIN).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def loki(folder: Path, more: str = "") -> Iterator[Loki]:
    """Run one, with `more` settings; skip where it cannot be built, but not in CI."""
    try:
        program = go_tools.build("loki")
    except go_tools.CannotBuild as error:
        pytest.skip(str(error))
    port, settings = free_port(), folder / "loki.yaml"
    said = {"HTTP": str(port), "GRPC": str(free_port()), "FOLDER": str(folder / "loki")}
    text = _SETTINGS + more
    for name, value in said.items():
        text = text.replace(name, value)
    settings.write_text(text)
    with (folder / "loki.log").open("wb") as log:
        process = subprocess.Popen([program, f"-config.file={settings}"], stdout=log, stderr=log, cwd=folder)
    try:
        running = Loki(process, f"http://127.0.0.1:{port}")
        wait_for("Loki is ready", lambda: running.is_ready() or None, 90)
        yield running
    finally:
        process.kill()
        process.wait()
