"""What `legation status` says of a host, and what is shown while it runs; each fact from whoever knows it."""

import asyncio
import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from legation.host import probe, show
from legation.host.picture import picture, svg
from legation.host.status import collect
from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import (
    CertmgrStatus,
    HostStatus,
    Identity,
    Pids,
    ServiceStatus,
)
from legation.runtime.tasks import spawn
from legation.sidecar import report
from tests.host.conftest import ALONE, HostWorld, Play, instances
from tests.support.programs import eventually
from tests.support.samples import STATUS, UP, WEB

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def with_web(**changes: object) -> HostStatus:
    return replace(STATUS, services=(ServiceStatus(name="web", instances=(replace(WEB, **changes),)),))


def drawn(status: HostStatus, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(picture(status, NOW))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_fact_of_a_mesh_that_is_in_order(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running() as host:
            await eventually("all serve", lambda: sum(i.serves for i in host.registry.instances) == 5)
            status = await collect(host)
        assert (status.mesh, status.gateway, status.problems) == ("shop", "http://127.0.0.1:8080/", ())
        assert [s.name for s in status.services] == ["web", "orders"]
        web = instances(status)["web-v1-0"]
        assert (web.healthy, web.synced, web.outdated, web.state, web.restarts) == (True, True, False, "ready", 0)
        assert (web.certificate_serial, web.certificate_expires) == ("0a1b", "2100-01-01T00:00:00Z")
        assert (web.requests, web.failures) == (7, None)
        assert web.inbound.endswith(":15006")
        assert web.pids.app is not None
        gateway = status.gateways[0]
        assert (gateway.inbound, gateway.requests) == ("127.0.0.1:8080", 7)
        assert probe.missing(status) == ()

    play(scene)


def test_an_envoy_that_does_not_answer_leaves_its_facts_unknown(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE.replace('FAKE: ""', "FAKE: deaf")) as host:
            await world.serves(host, "web-v1-0")
            web = instances(await collect(host))["web-v1-0"]
            assert (web.healthy, web.certificate_expires, web.requests) == (True, None, None)

    play(scene)


def test_an_instance_that_was_started_by_hand_is_shown_with_the_others(world: HostWorld, play: Play) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            spec = InstanceSpec("mine", "web", "v1", "1", "127.64.9.1")
            folder = world.state.instance("mine")
            folder.mkdir()
            said = report.Report(spec=spec, spiffe_id="x", pids=Pids(run=os.getpid()), problem="no luck")
            report.write(folder, said)
            world.xds.specs["mine"] = spec
            nacks = ("Cluster: no",)
            world.xds.set(*world.xds.registry.value.instances, world.xds.instance("mine", nacks=nacks))
            await eventually("it is known", lambda: any(i.id == "mine" for i in host.registry.instances))
            mine = instances(await collect(host))["mine"]
            assert (mine.outdated, mine.restarts, mine.healthy, mine.problem) == (False, 0, False, "no luck")
            report.write(folder, replace(said, problem=None))
            assert instances(await collect(host))["mine"].problem == "Cluster: no"

    play(scene)


def test_certificates_that_are_not_renewed_are_a_problem_with_the_time_that_is_left(
    world: HostWorld, play: Play
) -> None:
    failing = Identity(name="web", spiffe_id="spiffe://shop.local/web", error="sealed", not_after=1.0)
    world.certmgr = CertmgrStatus(pid=1, ready=False, vault="sealed", seconds_to_outage=90, identities=(failing,))

    async def scene() -> None:
        async with world.running(ALONE) as host:
            await world.serves(host, "web-v1-0")
            assert (await collect(host)).problems == (
                "certificates are not renewed; the first one expires in 90 s",
                "spiffe://shop.local/web: sealed",
            )

    play(scene)


@pytest.mark.parametrize(
    ("status", "lacks"),
    [
        (STATUS, ()),
        (replace(STATUS, problems=("no luck",)), ("no luck",)),
        (replace(STATUS, certmgr=replace(UP, state="starting")), ("certmgr is starting",)),
        (with_web(certificate_serial=None), ("web-v1-0 has no certificate yet",)),
        (with_web(synced=False), ("web-v1-0 does not have its configuration yet",)),
        (with_web(healthy=False, state="restarting"), ("web-v1-0 is restarting",)),
        (with_web(healthy=False), ("web-v1-0 does not pass its health check yet",)),
    ],
)
def test_what_a_mesh_lacks_is_said(status: HostStatus, lacks: tuple[str, ...]) -> None:
    assert probe.missing(status) == lacks


@pytest.mark.parametrize(
    ("code", "said"), [(200, ()), (302, ()), (401, ()), (404, ()), (502, ("{} answers 502: no luck",))]
)
def test_a_mesh_is_up_once_its_gateway_answers_whatever_is_there(
    world: HostWorld, play: Play, code: int, said: tuple[str, ...]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d -\r\ncontent-length: 7\r\n\r\nno luck" % code)
        writer.close()

    async def scene() -> None:
        async with world.running(ALONE) as host, await asyncio.start_server(answer, "127.0.0.1", 0) as gateway:
            await world.serves(host, "web-v1-0")
            url = f"http://127.0.0.1:{gateway.sockets[0].getsockname()[1]}/"
            status = replace(await collect(host), gateway=url)
            assert await probe.unreached(status) == tuple(text.format(url) for text in said)

    play(scene)


def test_a_gateway_that_does_not_answer_is_said() -> None:
    assert asyncio.run(probe.unreached(STATUS)) == ()
    lost = replace(STATUS, gateway="http://127.0.0.1:1/")
    assert asyncio.run(probe.unreached(lost)) == ("127.0.0.1:1 does not answer (ConnectionRefusedError)",)


def test_what_happens_is_shown_a_line_a_change(
    world: HostWorld, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        async with world.running(ALONE) as host, asyncio.TaskGroup() as group:
            shown = spawn(group, "show", show.show(host))
            said: list[str] = []

            def is_up() -> bool:
                said.append(capsys.readouterr().err)
                return "shop is up" in "".join(said)

            await eventually("it is up", is_up)
            host.stopping.set()
            await shown
            text = "".join(said)
            assert text.startswith("starting shop: OpenBao, xds_server, certmgr, telemetry, then every instance\n")
            assert "web-v1-0: healthy\n" in text
            assert "certmgr: running\n" in text
            assert "kill -9" in text

    play(scene)


class Terminal(io.StringIO):
    """What somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_table(world: HostWorld, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")

    async def scene() -> None:
        async with world.running(ALONE) as host, asyncio.TaskGroup() as group:
            shown = spawn(group, "show", show.show(host))
            await eventually("it is up", lambda: "shop is up" in terminal.getvalue())
            host.stopping.set()
            await shown
        assert "SERVICE" in terminal.getvalue()
        assert "ending shop" in terminal.getvalue()

    play(scene)


def test_a_picture_that_fails_ends_no_mesh(
    world: HostWorld, play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(_: object) -> HostStatus:
        raise ZeroDivisionError

    monkeypatch.setattr(show, "collect", fail)

    async def scene() -> None:
        await show.show(world.host(ALONE))

    play(scene)
    assert "ending shop" in capsys.readouterr().err


def test_the_picture_says_all_states_of_an_instance() -> None:
    assert "● certmgr   ● telemetry" in drawn(STATUS)
    assert "certmgr (restarted 2x)" in drawn(replace(STATUS, certmgr=replace(UP, restarts=2)))
    assert "1h 02m left" in drawn(STATUS)
    assert "1,200" in drawn(STATUS)
    assert "1m 30s left" in drawn(with_web(certificate_expires="2030-01-01T00:01:30Z"))
    assert "expired" in drawn(with_web(certificate_expires="2029-01-01T00:00:00Z"))
    assert "1,200, 3 failed" in drawn(with_web(failures=3))
    assert "unhealthy" in drawn(with_web(healthy=False))
    ill = with_web(healthy=False, unwell="it answers 503", unwell_since="2029-12-31T22:58:00Z")
    assert "! web-v1-0: it answers 503, for 1h 02m\n" in drawn(ill)
    assert "! web-v1-0: it answers 503\n" in drawn(with_web(healthy=False, unwell="it answers 503"))
    assert "● OpenBao   ○ xds_server starting" in drawn(replace(STATUS, xds_server=replace(UP, state="starting")))
    assert "SERVICE" not in drawn(replace(STATUS, services=())), "no table before there is an instance"
    assert "restarting" in drawn(with_web(healthy=False, state="restarting"))
    assert "healthy (Envoy restarted 3x)" in drawn(with_web(envoy_restarts={"ended": 1, "hung": 2}))
    assert "! no luck" in drawn(replace(STATUS, problems=("no luck",)))
    bare = drawn(with_web(certificate_expires=None, requests=None, synced=False))
    assert [word for word in bare.splitlines()[-1].split() if word == "-"] == ["-", "-", "-"]
    assert "gateway-0" in drawn(replace(STATUS, gateways=(replace(WEB, id="legation-gateway-0"),)))


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (100, "SERVICE INSTANCE STATE CONFIG CERTIFICATE REQUESTS ADDRESS"),
        (80, "SERVICE INSTANCE STATE CONFIG CERTIFICATE REQUESTS"),
        (40, "INSTANCE STATE CONFIG"),
    ],
)
def test_a_narrow_terminal_loses_whole_columns_and_the_state_last(width: int, columns: str) -> None:
    head = next(line for line in drawn(STATUS, width).splitlines() if "INSTANCE" in line)
    assert head.split() == columns.split()


def test_the_svg_names_no_font_from_elsewhere() -> None:
    text = svg(STATUS, NOW)
    assert text.startswith("<svg")
    assert "@font-face" not in text


def test_a_newcomer_is_told_what_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    twin = replace(WEB, id="web-v1-1", pids=Pids(app=4))
    twins = ServiceStatus(name="web", instances=(WEB, twin))
    other = ServiceStatus(name="orders", instances=(replace(WEB, spiffe_id="other", pids=Pids(app=9)),))
    text = show.welcome(replace(STATUS, gateway="http://127.0.0.1:8080/", services=(other, twins)))
    assert "curl -s http://127.0.0.1:8080/" in text
    assert "kill -9 3" in text, "one that has a twin"
    assert "no service is exposed" in show.welcome(replace(STATUS, services=()))
    assert "legation status --state /state " in text
    found = show.welcome(replace(STATUS, state=str(tmp_path / "legation" / "shop")))
    assert "legation status  " in found, "the command looks there by itself"
