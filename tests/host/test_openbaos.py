"""Which embedded OpenBaos run on a host: as certmgr wants, also while the mesh runs and when it comes up again."""

from pathlib import Path

from legation.host.status import collect
from legation.runtime import process
from legation.runtime.embedded import desired_file
from tests.host.conftest import ALONE, HostWorld, Play
from tests.support.programs import eventually


def test_a_second_one_follows_the_first_whose_data_goes_with_it(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await eventually("it runs", lambda: "openbao" in host.openbaos.running)
            await eventually("it has begun", lambda: host.openbaos.running["openbao"].pid)
            first = host.openbaos.running["openbao"].pid
            made(world, "openbao")
            desired_file(world.state).write_text("1 2")
            await eventually("the second runs", lambda: "openbao-2" in host.openbaos.running)
            assert host.openbaos.running["openbao"].pid == first
            desired_file(world.state).write_text("2")
            await eventually("the first has gone", lambda: not world.state.openbao().exists())
            assert first is not None
            assert not process.runs(first)
            assert list(host.openbaos.running) == ["openbao-2"]
            status = await collect(host)
            assert status.openbao is not None

    play(scene)


def test_with_a_vault_of_the_teams_none_runs_and_none_comes_back(world: HostWorld, play: Play) -> None:
    left = made(world, "openbao-2")
    desired_file(world.state).write_text("")

    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            assert host.openbaos.running == {}
            assert not left.exists()
            status = await collect(host)
            assert (status.openbao, list(status.components)) == (None, ["xds_server", "certmgr", "telemetry"])

    play(scene)


def made(world: HostWorld, name: str) -> Path:
    folder = world.state.root / name
    folder.mkdir(exist_ok=True)
    (folder / "data").write_text("")
    return folder
