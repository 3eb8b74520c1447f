"""A change of the mesh in a real Jaeger."""

import asyncio
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from legation.mesh.model.tracing import Otlp, Tracing
from legation.runtime.control.messages import MeshDocument
from legation.runtime.tasks import until
from legation.runtime.traces import Traces
from tests.support.jaeger import Jaeger, jaeger
from tests.xds_server.test_changes import MORE, Traced


@pytest.mark.timeout(900)  # the first time, Jaeger is built
def test_in_a_real_jaeger_a_change_is_one_trace_in_order(tmp_path: Path) -> None:
    async def work(receiver: Jaeger) -> None:
        world = Traced(tmp_path)
        traces = Traces("xds_server", CollectorRegistry())
        running = asyncio.ensure_future(traces.run())
        traces.want("shop", Tracing(otlp=Otlp(host="127.0.0.1", port=receiver.otlp)))
        world.clock.now = time.time  # type: ignore[method-assign]  # steps have an order
        await world.apply()
        web, orders = await world.connect("web-1", "web"), await world.connect("orders-1", "orders")
        saved = world.clock.now() - 1
        await world.plane.apply(MeshDocument(file="mesh.yaml", text=MORE, saved=saved, by="ann"))
        world.settle(web)
        world.settle(orders)
        traces.emit(await world.last(2))

        async def arrived() -> bool:
            return bool(await asyncio.to_thread(receiver.work, "legation-xds-server", "change mesh"))

        assert await until(arrived, 30)
        running.cancel()
        await asyncio.wait([running])

    with jaeger(tmp_path) as receiver:
        asyncio.run(work(receiver))
        (root,) = receiver.work("legation-xds-server", "change mesh")
        assert (root.process["service.namespace"], root.tags["legation.by"]) == ("shop", "ann")
        assert [step.name for step in root.children] == ["load", "compile", "store", "publish"]
        assert {step.name for step in root.children[-1].children} == {"ACK web-1", "ACK orders-1"}
        starts = [root.start, *(step.start for step in root.children)]
        assert starts == sorted(starts)
