"""Two hosts: this network namespace and another one, joined by a wire; on each its certmgr and sidecars.

Who may make no namespace has two addresses of loopback in their place: the same programs and connections,
on one network.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from legation.runtime import http
from legation.runtime.state import StateFolder
from legation.sidecar import report
from tests.certmgr.bao import free_port
from tests.certmgr.team import Team, team
from tests.support.command import legation
from tests.support.mesh import LEGATION, ROOT, wait_for

MESH = """
mesh: shop
trust_domain: shop.local
certificates: {ttl: 10m}
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders: {protocol: http, port: 8080}
"""
FIRST = "web,orders,legation-gateway,legation-xds-server,legation-telemetry"
"""The identities of the first host: all, and that of its telemetry."""
APP = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["INSTANCE"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, _, *words): print("app says", words[0], flush=True)
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@dataclass
class Host:
    """One host: where others reach it, its state folder, and how a program is started there."""

    name: str
    address: str
    state: StateFolder
    prefix: tuple[str, ...]
    certmgr_metrics: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, name: str, *argv: str) -> "subprocess.Popen[bytes]":
        with (self.state.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*self.prefix, *argv], stdout=log, stderr=log, cwd=ROOT)
        self.running.append(process)
        return process

    def run(self, service: str, xds: str) -> "subprocess.Popen[bytes]":
        there = ("--xds", xds, "--advertise", self.address)
        folder = ("--state", str(self.state.root), "--logs", str(self.state.logs_socket))
        words = ("run", "--service", service, "--instance", service, *there, *folder, "--", sys.executable, "-c", APP)
        return self.start(service, *LEGATION, *words)

    def log(self, name: str) -> str:
        return (self.state.logs / f"{name}.log").read_text()[-3000:]

    def end(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Two:
    """A mesh over two hosts: xds_server and `web` on the first, `orders` on the second."""

    first: Host
    second: Host
    vault: Team

    def join(self) -> "subprocess.Popen[bytes]":
        """Start certmgr on the second host."""
        joined = ("--xds", self.xds, "--trust-domain", "shop.local", "--identities", "orders,legation-telemetry")
        return certmgr(self.second, self.vault, self.vault.folder / "second.json", *joined)

    @property
    def xds(self) -> str:
        return f"{self.first.address}:15014"

    @contextmanager
    def telemetry(self) -> Iterator[str]:
        """Run telemetry on both hosts; the second one's log goes on to the first one's, whose host:port this says."""
        logs = f"{self.first.address}:15081"
        here = ("--xds-control", str(self.first.state.control("xds_server")))
        started = []
        for host, more in ((self.first, here), (self.second, ("--xds", self.xds, "--logs-to", logs))):
            state = host.state
            words = ("--control", str(state.control("telemetry")), "--state", str(state.root), "--port", "0")
            shown = ("--components", f"certmgr={host.certmgr_metrics}")
            identity = ("--sds", str(state.sds("legation-telemetry")), "--listen", f"{host.address}:15081")
            started.append(host.start("telemetry", sys.executable, "-m", "telemetry", *words, *shown, *identity, *more))
        try:
            yield logs
        finally:
            for process in started:
                process.terminate()
                process.wait(20)

    def url(self) -> str:
        """Where web's app finds orders."""
        said = report.read(self.first.state.instance("web"))
        assert said is not None
        return f"http://{said.spec.own_address}:{said.spec.outbound_ports['orders']}/"


@contextmanager
def addresses() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The addresses of both hosts, and what starts a program on the second."""
    number = os.getpid() % 250 + 1
    name, near, far = f"legation-{os.getpid()}", f"lg{os.getpid()}a", f"lg{os.getpid()}b"
    first, second = f"10.213.{number}.1", f"10.213.{number}.2"
    inside = ("ip", "netns", "exec", name)
    wires = (
        ("ip", "netns", "add", name),
        ("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name),
        ("ip", "addr", "add", f"{first}/24", "dev", near),
        ("ip", "link", "set", near, "up"),
        (*inside, "ip", "addr", "add", f"{second}/24", "dev", far),
        (*inside, "ip", "link", "set", far, "up"),
        (*inside, "ip", "link", "set", "lo", "up"),
    )
    if shutil.which("ip") is None or any(subprocess.run(w, capture_output=True, check=False).returncode for w in wires):
        sys.stderr.write("no network namespace can be made here: two addresses of loopback are the hosts\n")
        if shutil.which("ip") is not None:  # what there is of it
            subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)
        yield f"127.213.{number}.1", f"127.213.{number}.2", ()
        return
    try:
        yield first, second, inside
    finally:
        subprocess.run(("ip", "netns", "del", name), check=False)


def init(vault: Team, folder: Path) -> None:
    """Set the CA up as an operator does, with a credential for each host."""
    (folder / "mesh.yaml").write_text(MESH)
    env = {"HOME": str(folder), "VAULT_TOKEN": vault.operator()}
    for name in ("first", "second"):
        words = ("--vault", vault.url, "--vault-ca", str(vault.ca), "--yes", "--host", str(folder / f"{name}.json"))
        done = legation("certs", "init", *words, folder=folder, env=env)
        assert done.returncode == 0, done.stderr


def certmgr(host: Host, vault: Team, credentials: Path, *more: str) -> "subprocess.Popen[bytes]":
    there = ("--vault-address", vault.url, "--vault-ca", str(vault.ca), "--vault-credentials", str(credentials))
    words = ("-m", "certmgr", "--state", str(host.state.root), "--host", host.name, "--wire-look", "2")
    shown = ("--metrics-address", host.certmgr_metrics)
    return host.start("certmgr", sys.executable, *words, *shown, *there, *more)


def xds_server(host: Host) -> None:
    state = host.state
    words = ("--listen", f"{host.address}:15010", "--control-address", f"{host.address}:15014")
    paths = ("--control", str(state.control("xds_server")), "--sds", str(state.sds("legation-xds-server")))
    more = ("--database", str(state.database), "--metrics", f"127.0.0.1:{free_port()}")
    host.start("xds_server", sys.executable, "-m", "xds_server", *words, *paths, *more)


def apply(host: Host, text: str) -> None:
    """Have a mesh file applied, as its own host may over the socket."""
    body = json.dumps({"file": "mesh.yaml", "text": text}).encode()

    def applied() -> bool:
        asked = http.request(host.state.control("xds_server"), "PUT", "/mesh", body=body, limit=20)
        with suppress(http.HttpError):
            return asyncio.run(asked).status == 200
        return False

    wait_for("the mesh is applied", applied, 30)


@contextmanager
def two(folder: Path) -> Iterator[Two]:
    """Start it all, and wait for nothing."""
    with addresses() as (one, other, inside):
        hosts = [
            Host("first", one, StateFolder(folder / "a"), ()),
            Host("second", other, StateFolder(folder / "b"), inside),
        ]
        with team(folder, one) as vault:
            init(vault, folder)
            made = Two(hosts[0], hosts[1], vault)
            try:
                for host in hosts:
                    host.state.make()
                certmgr(made.first, vault, folder / "first.json", "--identities", FIRST)
                made.join()
                xds_server(made.first)
                apply(made.first, MESH)
                made.first.run("web", made.xds)
                made.second.run("orders", made.xds)
                yield made
            finally:
                for host in reversed(hosts):
                    host.end()
