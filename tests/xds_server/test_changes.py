"""A change of the mesh as one piece of work: its steps, and each proxy's answer."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from legation.runtime.control.messages import MeshDocument
from legation.runtime.tasks import until
from legation.runtime.trail import Step
from tests.xds_server.plane import MESH, World
from xds_server import changes
from xds_server.admission import Admission
from xds_server.control_plane import ControlPlane
from xds_server.deliveries import MOST, Deliveries
from xds_server.metrics import Metrics
from xds_server.protocol.types import Acknowledged

MORE = MESH + "  mail: {protocol: http, port: 8080}\n"


class Traced(World):
    """A control plane whose changes are kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seen: list[Step] = []
        self.plane = ControlPlane(self.store, self.clock, Metrics(CollectorRegistry()), emit=self.seen.append)
        self.admission = Admission(self.plane)

    async def last(self, count: int) -> Step:
        async def seen() -> bool:
            return len(self.seen) >= count

        assert await until(seen, 10)
        return self.seen[-1]


def names(step: Step) -> list[str]:
    return [below.name for below in step.steps]


def test_a_change_is_over_when_the_last_proxy_has_answered(tmp_path: Path) -> None:
    async def work() -> None:
        world = Traced(tmp_path)
        await world.apply()
        web, orders = await world.connect("web-1", "web"), await world.connect("orders-1", "orders")
        world.settle(web)
        world.settle(orders)
        saved = world.clock.now() - 3
        result = await world.plane.apply(MeshDocument(file="mesh.yaml", text=MORE, saved=saved, by="ann"))
        world.settle(web)
        assert len(world.seen) == 1, "one proxy has not answered yet"
        world.admission.observe(orders, Acknowledged(orders.snapshots.value, {"x.Listener": "bind: no"}))
        root = await world.last(2)
        assert (root.name, root.start, root.failure) == ("change mesh", saved, None)
        assert root.said == {"legation.file": "mesh.yaml", "legation.by": "ann", "legation.version": result.version}
        assert names(root) == ["load", "compile", "store", "publish"]
        publish = root.steps[-1]
        assert (publish.said["legation.proxies"], sorted(names(publish))) == (2, ["ACK orders-1", "ACK web-1"])
        rejections = {step.name: step.failure for step in publish.steps}
        assert rejections == {"ACK web-1": None, "ACK orders-1": "Listener: bind: no"}
        assert all(step.end is not None and step.end >= step.start for step in publish.steps)

    asyncio.run(work())


def test_a_rejected_change_says_why_and_one_that_changes_nothing_is_none(tmp_path: Path) -> None:
    async def work() -> None:
        world = Traced(tmp_path)
        await world.apply()
        await world.last(1)
        await world.apply()
        await world.apply(MESH.replace("calls: [orders]", "calls: [order]"))
        root = await world.last(2)
        assert "order" in (root.failure or "")
        assert root.steps[0].failure == root.failure

    asyncio.run(work())


def test_a_proxy_that_hangs_does_not_hold_the_trace_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_LIMIT", 0.1)

    async def work() -> None:
        world = Traced(tmp_path)
        await world.apply()
        await world.connect("web-1", "web")
        # a file that was put in place with its old time was not saved for this change
        await world.plane.apply(MeshDocument(file="mesh.yaml", text=MORE, saved=world.clock.now() - 86400))
        root = await world.last(2)
        assert root.start == world.clock.now()
        (ack,) = root.steps[-1].steps
        assert (ack.failure, ack.end) == ("no answer yet", None)

    asyncio.run(work())


def test_a_fleet_is_shown_by_its_last_to_answer() -> None:
    deliveries = Deliveries(dict.fromkeys(range(500), 1.0), {n: 2.0 + n for n in range(499)})
    steps = list(deliveries.steps({n: f"web-{n}" for n in range(500)}, {}, 1000.0))
    assert (len(steps), steps[-1].name, steps[-1].failure) == (MOST, "ACK web-499", "no answer yet")
    assert (steps[0].name, steps[0].start, steps[0].end) == ("ACK web-400", 1001.0, 1402.0)
