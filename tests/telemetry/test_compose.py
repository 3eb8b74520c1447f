"""Docker compose as an actuator, by a fake `docker` that keeps what it was told."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from legation.runtime import process
from legation.runtime.tasks import spawn, until
from telemetry.autoscale.actuator import ActuatorError, Workload
from telemetry.autoscale.compose import Compose
from tests.support.programs import script


def docker(folder: Path, *, says: str = "", fails: str = "", more: str = "") -> Compose:
    """A docker that keeps its arguments, says something, and fails where it is told to."""
    (folder / "says").write_text(says)
    end = f"echo '{fails}' >&2; exit 17" if fails else "exit 0"
    program = script(folder / "docker", f'echo "$@" >> {folder}/told\n{more}\ncat {folder}/says\n{end}')
    return Compose([folder / "compose.yaml", folder / "more.yaml"], str(program))


def container(service: str, state: str = "running", health: str = "") -> dict[str, str]:
    return {"Service": service, "State": state, "Health": health, "Name": f"shop-{service}-1"}


CONTAINERS = [
    container("web"),
    container("web", health="healthy"),
    container("web", health="starting"),
    container("web", state="exited"),
    container("orders", state="exited"),
    container("other"),
]


@pytest.mark.parametrize(
    "says", [json.dumps(CONTAINERS), "\n".join(map(json.dumps, CONTAINERS))], ids=["a list", "a line each"]
)
def test_what_compose_runs_is_what_there_is(tmp_path: Path, says: str) -> None:
    """In both forms that versions of compose have had."""
    found = asyncio.run(docker(tmp_path, says=says).look(["web", "orders"]))
    assert found == (Workload("web", "", 3, (), 2),)
    files = f"--file {tmp_path}/compose.yaml --file {tmp_path}/more.yaml"
    assert (tmp_path / "told").read_text() == f"compose {files} ps --all --format json\n"


def test_a_number_is_compose_s_own_scale(tmp_path: Path) -> None:
    compose = docker(tmp_path)
    asyncio.run(compose.scale(Workload("web", "", 1, (), 1), 5, "much to do"))
    told = (tmp_path / "told").read_text().split(" up ")[1]
    assert told == "--detach --no-deps --no-recreate --scale web=5 web\n"


@pytest.mark.parametrize(
    ("says", "fails", "why"),
    [
        ("", "no configuration file provided: not found", "docker compose ps ends with 17: no configuration file"),
        ("<html>", "", "answers in a form that is not known: '<html>'"),
        ('{"Name": 1}', "", "answers in a form that is not known"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path: Path, says: str, fails: str, why: str) -> None:
    with pytest.raises(ActuatorError, match=why):
        asyncio.run(docker(tmp_path, says=says, fails=fails).look(["web"]))


def test_no_docker_and_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ActuatorError, match="cannot be started: No such file"):
        asyncio.run(Compose([tmp_path / "compose.yaml"], str(tmp_path / "none")).look(["web"]))
    monkeypatch.setattr("telemetry.autoscale.compose._ASK_LIMIT", 0.2)
    with pytest.raises(ActuatorError, match="docker compose ps has taken longer than 0 s"):
        asyncio.run(docker(tmp_path, more="exec sleep 60").look(["web"]))


@pytest.mark.parametrize("ends", [True, False], ids=["in time", "never"])
def test_a_command_that_has_begun_may_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Killed half-way, `up` leaves the Engine with an endpoint that no `down` takes away."""
    monkeypatch.setattr("telemetry.autoscale.compose._END_LIMIT", 10 if ends else 0.1)
    compose = docker(tmp_path, more=f"echo $$ > {tmp_path}/pid\nread x < {tmp_path}/gate\ntouch {tmp_path}/done")
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)

    async def begun() -> bool:
        return bool((tmp_path / "pid").exists() and (tmp_path / "pid").read_text())

    async def stopped() -> None:
        async with asyncio.TaskGroup() as group:
            scaling = spawn(group, "scale", compose.scale(Workload("web", "", 1, (), 1), 2, "much to do"))
            assert await until(begun, limit=10)
            scaling.cancel()
            if ends:
                await asyncio.to_thread(os.write, gate, b"go\n")

    asyncio.run(stopped())
    os.close(gate)
    assert (tmp_path / "done").exists() == ends
    assert not process.runs(int((tmp_path / "pid").read_text()))
