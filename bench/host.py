"""Whole meshes on this host for the benches: started and ended by the command, as a user does."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

from bench.program import Broken
from legation.host.layout import HostFile
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import HostStatus, InstanceStatus
from legation.runtime.state import StateFolder

SHOP = Path("examples/shop/mesh.yaml")
_LEGATION = (sys.executable, "-m", "legation.cli.main")
_LIMIT = 180

_APP = """
import os, socket
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
names = [name[:-4] for name in os.environ if name.startswith("SVC_") and name.endswith("_URL")]
called = [(os.environ[f"{name}_HOST"], int(os.environ[f"{name}_PORT"])) for name in names]

def ask(address):
    with socket.create_connection(address) as asked:
        asked.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
        while asked.recv(65536):
            pass

while True:
    with server.accept()[0] as client:
        if client.recv(65536):
            for address in called:
                ask(address)
            client.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
"""
"""The lightest app that can be measured beside: a request passes on to each service that it calls."""


@asynccontextmanager
async def up(file: Path, state: StateFolder) -> AsyncIterator[float]:
    """Run a mesh while the block runs; gives the seconds from `legation up` to a request through every service."""
    begun = perf_counter()
    wait = ("-d", "--wait", str(_LIMIT), "--gateway-port", "0")
    try:
        await _legation("up", "-f", str(file), "--state", str(state.root), *wait)
        yield perf_counter() - begun
    finally:
        await _legation("down", "--state", str(state.root))


async def _legation(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*_LEGATION, *words, stdout=sys.stderr)
    if await process.wait() != 0:
        raise Broken(f"legation {' '.join(words)} ended with {process.returncode}")


async def status(state: StateFolder) -> HostStatus:
    """Return what `legation status` says."""
    return await ControlClient(state.control("host")).get("/status", HostStatus)


def pid(state: StateFolder) -> int:
    """Return the process of `legation up`."""
    host = HostFile.read(state.host_file)
    if host is None:
        raise Broken(f"no mesh runs from {state.root}")
    return host.pid


def instances(mesh: HostStatus) -> list[InstanceStatus]:
    """Return all instances, the gateways last."""
    return [*(i for service in mesh.services for i in service.instances), *mesh.gateways]


def chain(folder: Path, services: int, replicas: int) -> Path:
    """Write a mesh of services that each call the next one, with the lightest of apps; return its file."""
    (folder / "app.py").write_text(_APP)
    file = folder / "mesh.yaml"
    lines = ["mesh: chain", "trust_domain: chain.local", "certificates: {dev: true}", "services:"]
    for number in range(services):
        calls = f", calls: [svc-{number + 1}]" if number + 1 < services else ""
        exposed = ", expose: {port: 8080}" if number == 0 else ""
        lines.append(f"  svc-{number}: {{protocol: http, port: 8080{calls}{exposed}}}")
    lines.append("workloads:")
    command = f"[{sys.executable}, -S, -E, app.py]"
    lines += [f"  - {{service: svc-{n}, instances: {replicas}, command: {command}}}" for n in range(services)]
    file.write_text("\n".join(lines) + "\n")
    return file
