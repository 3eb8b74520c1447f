"""A whole mesh on one host, with fake components and fake instances: what runs follows the mesh file."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from legation.host import watch
from legation.host.host import Host
from legation.host.status import collect
from legation.runtime import process
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import HostStatus, InstanceStatus, MeshDocument, Replacement
from legation.runtime.tasks import until
from tests.host.conftest import ALONE, MESH, HostWorld, Play, instances
from tests.support.programs import eventually, script

EVERYBODY = ("legation-gateway-0", "legation-gateway-1", "web-v1-0", "orders-v1-0", "orders-v1-1")


def pids(host: Host) -> list[int]:
    supervisors = [*host.components.values(), *(slot.supervisor for slot in host.instances.slots.values())]
    return [s.pid for s in supervisors if s.pid is not None]


def test_a_mesh_starts_whole_and_leaves_nothing(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running() as host:
            await world.serves(host, *EVERYBODY)
            running = pids(host)
            assert len(running) == 4 + len(EVERYBODY)
            assert world.xds.applied == [MESH]
        assert [pid for pid in running if process.runs(pid)] == []
        assert {verb for _, verb in world.xds.calls} == {"ready", "withdraw"}
        ended = [name for name, verb in world.xds.calls if verb == "withdraw"]
        assert all(name.startswith("legation-gateway") for name in ended[:2]), "no new request comes in"

    play(scene)
    assert list(world.state.run.glob("*.sock")) == []


def test_an_edited_file_replaces_what_it_changes_successor_first(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running() as host:
            await world.serves(host, *EVERYBODY)
            world.file.write_text(MESH.replace('FAKE: ""', 'OTHER: "1"').replace("port: 8080}}", "port: 8081}}"))
            others = set(EVERYBODY) - {"web-v1-0"}
            await world.serves(host, *others, "web-v1-1")
            assert host.host.gateway_ports == {"web": 8081}, "the command finds the port"
            document = await world.client.get("/mesh", MeshDocument)
            assert "OTHER" in document.text

    play(scene)
    order = [call for call in world.xds.calls if call[0].startswith("web-")]
    assert order[:3] == [("web-v1-0", "ready"), ("web-v1-1", "ready"), ("web-v1-0", "withdraw")]


def test_a_file_is_followed_where_the_kernel_tells_no_changes(
    world: HostWorld, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user has 128 inotify instances, and other programs may hold them all."""

    def polling_alone(*folders: Path, **given: Any) -> AsyncIterator[object]:
        if not given.get("force_polling"):
            raise RuntimeError("Error creating recommended watcher: Too many open files (os error 24)")
        return watchfiles.awatch(*folders, **given)

    monkeypatch.setattr(watch, "awatch", polling_alone)

    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            world.file.write_text(ALONE.replace("8080", "80800"))
            await eventually("the violations are known", lambda: host.file_problems)

    play(scene)


def test_a_bad_file_changes_nothing_and_is_said(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            world.file.write_text(ALONE.replace("8080", "80800"))
            await eventually("the violations are known", lambda: host.file_problems)
            status = await world.client.get("/status", HostStatus)
            assert [p.removeprefix(f"{world.file}:") for p in status.problems] == [
                "5:31: services.web.port: 80800 is above the maximum 65535",
                "6:34: services.orders.port: 80800 is above the maximum 65535",
            ]
            world.file.write_text(ALONE)
            await eventually("it is mended", lambda: not host.file_problems)

    play(scene)
    assert world.xds.said("web-v1-0") == ["ready", "withdraw"]


def test_a_file_that_is_bad_from_the_start_is_said(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        host = world.host(ALONE)
        host.text = ALONE.replace("8080", "80800")
        await host.apply(host.text)
        assert "above the maximum" in host.file_problems[0]

    play(scene)


def test_a_file_is_applied_once_xds_server_answers(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        world.xds.broken = True
        async with world.running(ALONE) as host:
            await eventually("components run", lambda: all(c.pid for c in host.components.values()))
            with pytest.raises(ControlError, match="503: not now"):
                await host.apply(ALONE)
            assert world.xds.applied == []
            world.xds.broken = False
            await world.serves(host, "web-v1-0")

    play(scene)


def test_an_instance_that_is_asked_to_end_gets_a_successor(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            path = "/instances/{}/replace"
            for name, wait in (("web-v1-0", True), ("nobody", False)):
                answer = await world.client.send("POST", path.format(name), None, Replacement)
                assert answer == Replacement(wait=wait)
            world.xds.unsynced = ("orders-v1-0",)  # a proxy that never ACKs does not hold it for ever
            await world.serves(host, "web-v1-1")
            host.stopping.set()
            assert not host.replace("web-v1-1"), "it all ends: no successor comes"

    play(scene)


def test_who_never_gets_ready_leaves_its_predecessor_serving(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            world.file.write_text(ALONE.replace('FAKE: ""', "FAKE: crash"))
            status: dict[str, InstanceStatus] = {}

            async def has_crashed() -> bool:
                """Looked at in one piece: it is started again meanwhile, and has no problem for a moment."""
                status.update(instances(await collect(host)))
                return "web-v1-1" in status and status["web-v1-1"].problem is not None

            assert await until(has_crashed, 20)
            assert status["web-v1-0"].healthy
            assert status["web-v1-0"].outdated
            assert status["web-v1-1"].problem == (
                "web-v1-1: web-v1-0 serves on until this successor is healthy; "
                "web-v1-1: legation run ended with code 1; Error: no luck"
            )
            world.file.write_text(ALONE.replace('FAKE: ""', "FAKE: fine"))
            await world.serves(host, "web-v1-2")

    play(scene)
    assert world.xds.said("web-v1-0") == ["ready", "withdraw"]


def test_who_may_not_run_is_not_started_again_until_the_file_changes(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE.replace('FAKE: ""', "FAKE: reject")) as host:
            await eventually(
                "it has ended for good",
                lambda: [s for s in host.instances.slots.values() if s.supervisor.state == "stopped"],
            )
            status = await collect(host)
            assert status.problems == ("web-v1-0: its app may not run here",)
            world.file.write_text(ALONE)
            await eventually("the file is taken", lambda: host.text == ALONE)
            await eventually("another runs", lambda: any(i.serves for i in host.registry.instances))

    play(scene)


def test_a_component_that_dies_is_started_again(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            telemetry = host.components["telemetry"]
            await eventually("telemetry runs", lambda: telemetry.pid)
            assert telemetry.pid is not None
            os.kill(telemetry.pid, signal.SIGKILL)
            await eventually("telemetry runs again", lambda: telemetry.restarts == 1 and telemetry.pid)
            status = await collect(host)
            assert (status.telemetry.state, status.telemetry.restarts) == ("running", 1)

    play(scene)


def test_a_component_that_cannot_run_is_a_problem_with_its_last_words(world: HostWorld, play: Play) -> None:
    script(
        world.folder / "python",
        'case "$2" in telemetry) echo "Error: no luck" >&2; exit 1 ;; esac; exec sleep infinity',
    )

    async def scene() -> None:
        async with world.running(ALONE.replace("workloads:", "").partition("  - {")[0]) as host:

            async def is_said() -> bool:
                """Looked at in one piece: it is started again meanwhile."""
                return "telemetry is not running; its last words: Error: no luck" in (await collect(host)).problems

            assert await until(is_said, 20)

    play(scene)


def test_without_xds_server_the_last_registry_stays_but_nobody_is_synced(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            assert instances(await collect(host))["web-v1-0"].synced
            host.registry_live = False
            host.registry_lost = asyncio.get_running_loop().time() - 45
            status = await collect(host)
            web = instances(status)["web-v1-0"]
            assert (web.synced, web.healthy) == (False, True)
            assert any("xds_server runs and has not been heard for 60 s" in said for said in status.problems)

    play(scene)


def test_down_over_the_control_api_ends_it(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.client.post("/down")
            assert host.stopping.is_set()

    play(scene)
