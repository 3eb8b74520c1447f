"""A docker compose project as tests see it: its containers, its networks, and what they say and reach."""

import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography import x509

from tests.support.mesh import wait_for

ROOT = Path(__file__).parents[3]
NAME = "legation-test"
APPS = {"web": 8080, "catalog": 8080, "orders": 8080, "payments": 9090}
UP_LIMIT = 180
_SOL_PACKET = 263
_RETRIED = re.compile(r"^envoy_cluster_upstream_rq_retry\{.*\} (\d+)$", re.MULTILINE)

_CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def connects(target):
    try:
        socket.create_connection(target, 2).close()
    except OSError:
        return False
    return True

targets = [tuple(target) for target in json.loads(sys.argv[1])]
with ThreadPoolExecutor(8) as pool:
    print(json.dumps([t for t, there in zip(targets, pool.map(connects, targets)) if there]))
"""
_FETCH = """
const [url, host] = process.argv.slice(1);
const request = require('node:http').get(url, { headers: host ? { host } : {}, timeout: 3000 }, (res) => {
  let text = '';
  res.on('data', (d) => text += d);
  res.on('end', () => console.log(res.statusCode, text));
});
request.on('timeout', () => request.destroy(new Error('timeout')));
request.on('error', (e) => console.log('error', e.code ?? e.message));
"""


@dataclass(frozen=True)
class Container:
    """A container; `addresses` are by network, without the project's name; `published` are ports of this host."""

    name: str
    service: str
    running: bool
    published: tuple[int, ...]
    addresses: Mapping[str, str]
    volumes: tuple[str, ...]
    environment: tuple[str, ...]
    command: tuple[str, ...]

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Container":
        networks = said["NetworkSettings"]["Networks"].items()
        return cls(
            name=said["Name"].removeprefix("/"),
            service=said["Config"]["Labels"]["com.docker.compose.service"],
            running=said["State"]["Running"],
            published=tuple(
                int(one["HostPort"]) for bound in (said["HostConfig"]["PortBindings"] or {}).values() for one in bound
            ),
            addresses={n.removeprefix(f"{NAME}_"): v["IPAddress"] for n, v in networks},
            volumes=tuple(mount.get("Name", mount["Source"]) for mount in said["Mounts"]),
            environment=tuple(said["Config"]["Env"] or ()),
            command=tuple(said["Config"]["Cmd"] or ()),
        )


@dataclass
class Project:
    """The shop in docker compose."""

    port: int
    seconds: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def free_port() -> int:
        return _free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "SHOP_PORT": str(self.port), **self.environment}

    def run(self, *command: str, limit: float = 120) -> str:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=limit, env=self.env, cwd=ROOT / "compose"
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def docker(self, *words: str, limit: float = 120) -> str:
        return self.run("docker", *words, limit=limit)

    def compose(self, *words: str, limit: float = 120) -> str:
        return self.docker("compose", "-p", NAME, *words, limit=limit)

    def up(self) -> None:
        began = time.monotonic()
        try:
            self.compose("up", "-d", "--wait", "--no-build", limit=UP_LIMIT)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(
                f"{error}\n{self.compose('ps', '-a')}\n{self.compose('logs', '--tail', '15')}"
            ) from None
        self.seconds = time.monotonic() - began

    def containers(self) -> list[Container]:
        ids = self.docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={NAME}").split()
        return [Container.of(said) for said in json.loads(self.docker("inspect", *ids))] if ids else []

    def first(self, service: str) -> Container:
        return next(c for c in self.containers() if c.service == service and c.running)

    def healthy(self, name: str) -> None:
        ask = ("inspect", "-f", "{{.State.Health.Status}}", name)
        wait_for(f"{name} is healthy", lambda: self.docker(*ask).strip() == "healthy", 60)

    def bridge(self, network: str) -> str:
        return f"br-{self.docker('network', 'inspect', '-f', '{{.Id}}', f'{NAME}_{network}')[:12]}"

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def request(self, method: str, path: str) -> httpx.Response:
        return httpx.request(method, f"{self.url}{path.removeprefix('/')}", trust_env=False, timeout=20)

    def fetch(self, service: str, url: str, host: str = "") -> str:
        """What a shop's container gets from a URL: its status and text, or `error` and why."""
        return self.docker("exec", self.first(service).name, "node", "-e", _FETCH, url, host).strip()

    def resident(self, container: Container) -> float:
        """How many megabytes (2^20) a container's first process has in memory."""
        pid = self.docker("inspect", "-f", "{{.State.Pid}}", container.name).strip()
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def reaches(self, container: Container, targets: Mapping[tuple[str, int], str]) -> set[tuple[str, int]]:
        """Which of these addresses a container can connect to."""
        asked = json.dumps([list(target) for target in targets])
        pid = self.docker("inspect", "-f", "{{.State.Pid}}", container.name).strip()
        # with a program of ours, as most images have none that could
        found = self.run("nsenter", "--target", pid, "--net", sys.executable, "-ISc", _CONNECT, asked)
        return {(host, port) for host, port in json.loads(found)}

    def reached(self, ports: Mapping[str, int]) -> Iterator[tuple[str, set[str]]]:
        """Of each container that runs, its service without `-sidecar`, and whose apps, at these ports, it can reach."""
        running = [c for c in self.containers() if c.running]
        there = [c for c in running if c.service in ports]
        targets = {(c.addresses[f"{c.service}-private"], ports[c.service]): c.service for c in there}
        assert set(targets.values()) == set(ports)
        with ThreadPoolExecutor(len(running)) as pool:  # nearly all of it is waiting for what does not answer
            found = list(pool.map(lambda c: self.reaches(c, targets), running))
        for container, addresses in zip(running, found, strict=True):
            yield container.service.removesuffix("-sidecar"), {targets[address] for address in addresses}

    def retried(self) -> Mapping[str, int]:
        """How many requests the Envoy of each container has tried again so far, as Prometheus would read it."""
        found = {}
        for container in self.containers():
            at = container.addresses.get("legation-observe")
            if container.running and at and container.service.endswith(("-sidecar", "-gateway")):
                with suppress(httpx.TransportError):
                    text = httpx.get(f"http://{at}:15090/stats/prometheus", trust_env=False, timeout=5).text
                    found[container.name] = sum(int(value) for value in _RETRIED.findall(text))
        return found

    def apply(self, mesh: str) -> None:
        """Apply a mesh, from the host; the next `up` applies compose/mesh.yaml again."""
        control = self.docker("volume", "inspect", "-f", "{{.Mountpoint}}", f"{NAME}_legation-control").strip()
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(mesh)
            file.flush()
            words = ("--control", f"{control}/xds_server.sock", "--mesh", file.name)
            self.run("env", "-C", str(ROOT), sys.executable, "-m", "xds_server.offer", *words)

    def certs(self, *words: str) -> str:
        there = self.first("legation-certmgr").name
        return self.docker("exec", there, "python3", "-m", "legation.cli.main", "certs", *words, "--state", "/state")

    def serials(self) -> dict[str, str]:
        found = json.loads(self.certs("list", "-o", "json"))
        return {identity["name"]: identity["serial"] for identity in found["identities"]}

    def revoked(self) -> set[int]:
        """The serial numbers on Vault's own list, which it gives to anybody."""
        script = (
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8200/v1/mesh-int/crl/pem').read().decode())"
        )
        pem = self.docker("exec", self.first("legation-vault").name, "python3", "-c", script)
        return {entry.serial_number for entry in x509.load_pem_x509_crl(pem.encode())}

    def root(self) -> str:
        return self.docker(
            "exec",
            self.first("legation-certmgr").name,
            "python3",
            "-c",
            "print(open('/state/certmgr/root.pem').read())",
        )

    def left(self) -> list[str]:
        """What there is of the project."""
        label = ("--filter", f"label=com.docker.compose.project={NAME}")
        return [
            *self.docker("ps", "-aq", *label).split(),
            *self.docker("volume", "ls", "-q", *label).split(),
            *self.docker("network", "ls", "-q", *label).split(),
        ]


class Capture:
    """Every packet on a bridge, while the block runs."""

    def __init__(self, bridge: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind((bridge, 0))
        # else a bridge shows what is for itself alone (packet(7): PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC)
        everything = struct.pack("=iHH8s", socket.if_nametoindex(bridge), 1, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, 1, everything)
        self._socket.settimeout(0.2)
        self._data, self._ends = bytearray(), threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while not self._ends.is_set():
            try:
                self._data += self._socket.recv(1 << 16)
            except TimeoutError:
                continue

    def seen(self) -> bytes:
        return bytes(self._data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def shop() -> Iterator[Project]:
    """Bring the shop up from nothing; nothing is left of it afterwards."""
    project = Project(_free_port())
    project.compose("--profile", "full", "down", "-v", "--remove-orphans")
    try:
        project.up()
        yield project
    finally:
        project.compose("--profile", "full", "down", "-v", "--remove-orphans")
