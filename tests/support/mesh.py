"""A whole mesh for tests: started as a newcomer does, asked as `legation status` does."""

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from legation.host.desired import replica_sets
from legation.mesh.load import load
from legation.mesh.names import GATEWAY
from legation.mesh.summarize import summarize
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import HostStatus
from legation.runtime.state import StateFolder

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
LEGATION = (sys.executable, "-m", "legation.cli.main")
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used, as everything here is plain HTTP; making one a request costs more than the request."""
T = TypeVar("T")


def legation(*words: str, check: bool = True, limit: float = 110) -> "subprocess.CompletedProcess[str]":
    """Run the command; its output is kept, and told of one that does not end in time."""
    try:
        done = subprocess.run([*LEGATION, *words], capture_output=True, text=True, timeout=limit, cwd=ROOT, check=False)
    except subprocess.TimeoutExpired as late:
        said = b"\n".join(filter(None, (late.stdout, late.stderr))).decode(errors="replace")
        raise AssertionError(f"legation {' '.join(words)} did not end within {limit:.0f} s\n{said}") from late
    if check and done.returncode != 0:
        raise AssertionError(f"legation {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def wait_for(what: str, ask: Callable[[], T | None], limit: float = 30) -> T:
    """Return the first answer that is true; an error that names `what` after `limit` seconds.

    It asks less and less often: a mesh's status costs the processors 24 ms, which the others want.
    """
    deadline = time.monotonic() + limit
    pacing, pause = threading.Event(), 0.05
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        pacing.wait(pause)
        pause = min(pause * 1.3, 0.25)
    raise AssertionError(f"not within {limit:.0f} s: {what}")


@dataclass(frozen=True)
class Mesh:
    """A running mesh."""

    folder: Path
    state: Path

    @property
    def file(self) -> Path:
        """Its mesh.yaml, which may be edited."""
        return self.folder / "mesh.yaml"

    def status(self) -> HostStatus:
        """What the host says (`legation status -o json`, without a process for it)."""

        async def ask() -> HostStatus:
            client = ControlClient(self.run / "host.sock", 10)
            return await client.get("/status", HostStatus)

        return asyncio.run(ask())

    @property
    def run(self) -> Path:
        """The folder of its sockets, which is elsewhere when the state folder's path is long."""
        return StateFolder(self.state).run

    @property
    def gateway(self) -> str:
        """The gateway's URL, without the last slash."""
        ports = json.loads((self.state / "host.json").read_text())["gateway_ports"]
        return f"http://127.0.0.1:{ports['web']}"

    def instances(self, service: str) -> dict[str, Any]:
        """A service's instances, by id."""
        return {i.id: i for s in self.status().services if s.name == service for i in s.instances}

    def instance(self, instance: str) -> Any:
        """One instance's status."""
        status = self.status()
        everything = [*status.gateways, *(i for s in status.services for i in s.instances)]
        return next(i for i in everything if i.id == instance)

    def ids(self) -> set[str]:
        """The ids of all instances, the gateway's among them."""
        status = self.status()
        return {i.id for i in (*status.gateways, *(i for s in status.services for i in s.instances))}

    def first(self, service: str, version: str = "v1") -> Any:
        """One instance of a service: the first by its id. Ids change when instances are replaced."""
        found = [i for i in self.instances(service).values() if i.version == version]
        return min(found, key=lambda i: i.id)

    @property
    def gateways(self) -> list[Any]:
        """The gateways."""
        return list(self.status().gateways)

    def count(self) -> "Counter[tuple[str, str]]":
        """How many instances of each version of each service there are, the gateways among them."""
        status = self.status()
        gateways = [(GATEWAY, i.version) for i in status.gateways]
        return Counter([*gateways, *((s.name, i.version) for s in status.services for i in s.instances)])

    def troubles(self) -> list[str]:
        """What is not in order; empty when everything is."""
        status = self.status()
        everything = [*status.gateways, *(i for s in status.services for i in s.instances)]
        stopped = [p.control for p in status.components.values() if p.state != "running"]
        return [*status.problems, *stopped, *(i.id for i in everything if not (i.healthy and i.synced) or i.outdated)]

    def settle(self, limit: float = 60) -> None:
        """Wait until everything is in order."""
        try:
            wait_for("the mesh is in order", lambda: not self.troubles() or None, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.troubles()}") from None

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET through the gateway."""
        return self.request("GET", path, **more)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request through the gateway, on a connection of its own."""
        return httpx.request(method, self.gateway + path, timeout=20, trust_env=False, verify=PLAIN, **more)

    @contextmanager
    def edited(self, change: Callable[[str], str]) -> Iterator[None]:
        """Have another mesh.yaml applied while the block runs, then the old one again."""
        before = self.file.read_text()
        self.write(change(before))
        try:
            yield
        finally:
            self.write(before)

    def write(self, text: str) -> None:
        """Save a mesh.yaml as an editor does, and wait until every proxy has followed it."""
        version = self.version()
        self.save(text)
        wait_for("the change is applied", lambda: self.version() != version or None, 20)
        sets = replica_sets(summarize(load(text, str(self.file))), {})
        want = Counter({(s.spec.service, s.spec.version): s.replicas for s in sets if s.replicas})
        wait_for(f"the instances are {dict(want)}", lambda: self.count() == want, 60)
        self.settle()

    def save(self, text: str) -> None:
        """Save a mesh.yaml as an editor does."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)

    def version(self) -> str:
        """The version of the mesh that is applied, and that `status` speaks of."""
        transport = httpx.HTTPTransport(uds=str(self.run / "host.sock"), verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://host") as client:
            return str(client.get("/mesh").json()["version"])

    def admin(self, instance: str, path: str) -> str:
        """What an instance's Envoy answers on its admin interface."""
        socket = str(self.run / f"admin-{instance}.sock")
        transport = httpx.HTTPTransport(uds=socket, verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://envoy", trust_env=False) as client:
            return client.get(path).text

    def stat(self, instance: str, name: str) -> int:
        """A counter or gauge of an instance's Envoy; 0 while there is none."""
        socket = str(self.run / f"admin-{instance}.sock")
        transport = httpx.HTTPTransport(uds=socket, verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://envoy", trust_env=False) as client:
            _, _, value = client.get("/stats", params={"filter": f"^{name}$"}).text.strip().partition(": ")
        return int(value) if value else 0

    def log(self, name: str) -> str:
        """The log of one of our services."""
        return (self.state / "logs" / f"{name}.log").read_text()


@contextmanager
def running(root: Path, *, change: Callable[[str], str] = lambda text: text) -> Iterator[Mesh]:
    """Run the shop from a folder of its own; its end must leave no process, socket or held file behind."""
    folder, state = root / "shop", root / "state"
    shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(SHOP / "node_modules")
    (folder / "mesh.yaml").write_text(change((folder / "mesh.yaml").read_text()))
    words = ("-f", str(folder / "mesh.yaml"), "--state", str(state))
    try:
        legation("up", "-d", "--wait", "120", "--gateway-port", "0", *words)
        yield Mesh(folder, state)
    finally:
        legation("down", "--state", str(state), check=False)
        left = processes_of(state)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert left == {}, "legation down left processes behind"
    assert list(StateFolder(state).run.glob("*.sock")) == [], "legation down left sockets behind"


def processes_of(state: Path) -> dict[int, str]:
    """The processes whose arguments name a state folder, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in argv and "pytest" not in argv:
            found[int(entry.name)] = argv.strip()
    return found


def processes_below(mesh: Mesh) -> list[psutil.Process]:
    """All processes of a mesh, `legation up` first."""
    up = psutil.Process(json.loads((mesh.state / "host.json").read_text())["pid"])
    return [up, *up.children(recursive=True)]
