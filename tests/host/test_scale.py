"""A workload that follows the load: its number is asked for over the control API, bounded, and kept over a restart."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console
from starlette.routing import Route

from legation.host.counts import Counts, within
from legation.host.picture import picture
from legation.host.scale import cpu_seconds
from legation.mesh.desired import ReplicaSet, WorkloadSpec
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import (
    HostStatus,
    ScaleList,
    ScaleRequest,
    Scaling,
    TelemetryStatus,
    WorkloadScale,
)
from legation.runtime.control.server import bind_unix, reply, serve
from tests.host.conftest import ALONE, HostWorld, Play
from tests.support.programs import eventually

MESH = ALONE.replace("web: {", "web: {autoscale: {max: 3, cpu: 50}, ")
WEB = ReplicaSet(WorkloadSpec("web", "v1", ("web",)), 2, (1, 4))


def ask(world: HostWorld, number: int, version: str = "v1") -> "asyncio.Future[WorkloadScale]":
    request = ScaleRequest(replicas=number, reason="much to do")
    return asyncio.ensure_future(world.client.send("PUT", f"/scale/web/{version}", request, WorkloadScale))


def test_more_and_fewer_instances_are_to_be_had(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(MESH) as host:
            await world.serves(host, "web-v1-0")
            (told,) = (await world.client.get("/scale", ScaleList)).workloads
            assert (told.service, told.version, told.desired) == ("web", "v1", 1)
            assert [(i.id, i.ready) for i in told.instances] == [("web-v1-0", True)]
            assert told.instances[0].cpu_seconds is not None
            assert told.instances[0].cpu_seconds >= 0
            assert (await ask(world, 9)).desired == 3, "no more than the policy allows"
            await world.serves(host, "web-v1-0", "web-v1-1", "web-v1-2")
            await ask(world, 1)
            await world.serves(host, "web-v1-0")
            assert world.xds.said("web-v1-0") == ["ready"], "it was never touched"

    play(scene)


def test_only_what_follows_the_load_is_scaled(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            assert (await world.client.get("/scale", ScaleList)).workloads == ()
            with pytest.raises(ControlError, match="404: web v1 does not follow the load"):
                await ask(world, 2)
            with pytest.raises(ControlError, match="400: "):
                await ask(world, 0)

    play(scene)


def test_the_number_outlives_the_host_and_yields_to_mesh_yaml(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(MESH) as host:
            await world.serves(host, "web-v1-0")
            await ask(world, 2)
            await world.serves(host, "web-v1-0", "web-v1-1")
        # a host that ends leaves no socket, those of our fakes among them
        async with world.xds.serving(world.state), world.running(MESH) as host:
            await world.serves(host, "web-v1-0", "web-v1-1")
            world.file.write_text(MESH.replace("command: [web]", "instances: 3, command: [web]"))
            await world.serves(host, "web-v1-0", "web-v1-1", "web-v1-2")

    play(scene)


def test_status_says_what_telemetry_has_decided(world: HostWorld, play: Play) -> None:
    said = Scaling(service="web", version="v1", desired=1, ready=0, minimum=1, maximum=3, reason="1 needed; 12 in all")
    gone = Scaling(service="web", version="v0", desired=1, ready=0, minimum=1, maximum=3, reason="was here once")
    answer = TelemetryStatus(pid=1, ready=True, discovery_url="x", targets=1, scaling=(said, gone))

    async def status(_: object) -> object:
        return reply(answer)

    async def scene() -> None:
        nonlocal answer
        async with world.running(MESH) as host:
            await world.serves(host, "web-v1-0")
            found = await world.client.get("/status", HostStatus)
            assert found.services[0].scaling == (), "telemetry does not answer"
            routes = [Route("/status", status)]
            async with serve([bind_unix(world.state.control("telemetry"))], routes):
                await ask(world, 2)
                await world.serves(host, "web-v1-0", "web-v1-1")
                found = await world.client.get("/status", HostStatus)
                ((shown,),) = [s.scaling for s in found.services if s.scaling]
                assert (shown.desired, shown.ready, shown.reason) == (2, 2, said.reason), "numbers are the host's own"
                console = Console(record=True, width=160, file=StringIO())
                console.print(picture(found, datetime.now(UTC)))
                assert "web v1  2 of 2 ready, 1 to 3  1 needed; 12 in all" in console.export_text()
                answer = TelemetryStatus(pid=1, ready=True, discovery_url="x", targets=1, scaling_problem="no luck")
                found = await world.client.get("/status", HostStatus)
                assert "nothing is scaled: no luck" in found.problems

    play(scene)


def test_a_count_is_kept_for_what_it_began_with(tmp_path) -> None:
    file = tmp_path / "scale.json"
    Counts(file).set(WEB, 4)
    assert [s.replicas for s in Counts(file).applied([WEB])] == [4]
    other = ReplicaSet(WEB.spec, 3, (1, 4))
    narrower = ReplicaSet(WEB.spec, 2, (1, 3))
    unbound = ReplicaSet(WEB.spec, 2)
    assert [s.replicas for s in Counts(file).applied([other, narrower, unbound])] == [3, 3, 2]
    file.write_text("{")
    assert [s.replicas for s in Counts(file).applied([WEB])] == [2]
    assert (within(WEB, 0), within(WEB, 9), within(unbound, 9)) == (1, 4, 2)


def test_processor_time_is_that_of_all_that_an_app_has_started() -> None:
    """A shell whose child does the work, as npm's is."""
    work = f"{sys.executable} -S -c 'while True: pass'"
    with subprocess.Popen(["/bin/sh", "-c", f"{work}; true"]) as shell:
        try:

            async def main() -> None:
                await eventually("it has used some", lambda: (cpu_seconds(shell.pid) or 0) > 0.1)

            asyncio.run(main())
        finally:
            subprocess.run(["pkill", "-P", str(shell.pid)], check=True)
    assert cpu_seconds(shell.pid) is None
