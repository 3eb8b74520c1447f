"""One instance's whole life, with a fake Envoy, a fake app and a fake xds_server."""

import asyncio
import os
import re
import signal
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from legation.mesh import names
from legation.runtime import locks
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import Pids, Replacement
from legation.runtime.control.server import bind_unix, reply, serve
from legation.sidecar.run import EXIT_REJECTED, run
from legation.sidecar.settings import RunSettings
from tests.sidecar.conftest import ADDRESSES, Play, SidecarWorld
from tests.support.programs import eventually

REQUESTS = "http.inbound.downstream_rq_active"


def test_an_instance_starts_registers_and_ends_in_order(world: SidecarWorld, play: Play) -> None:
    settings = world.settings()
    world.behaviour["stats"] = {REQUESTS: [2, 1, 0, 0]}

    async def scene() -> None:
        async with world.living(settings) as life:
            await world.ready(settings)
            said = world.report(settings)
            assert said.spiffe_id == "spiffe://shop.local/web"
            assert said.spec.address == ADDRESSES[0]
            assert said.pids.run == os.getpid()
            assert None not in (said.pids.envoy, said.pids.app)
            assert said.spec.app_port in names.APP_PORTS
            world.ask_to_end()
            assert await life == 0

    play(scene)
    # the state of an instance that drains is final: whoever says it again may say it twice
    assert list(dict.fromkeys(world.xds.said(settings.spec.id))) == ["ready", "withdraw"]
    assert world.events() == ["/drain_listeners?graceful&skip_exit&inboundonly"]


def test_an_app_that_dies_is_withdrawn_says_why_and_comes_back(world: SidecarWorld, play: Play) -> None:
    settings = world.settings()

    async def scene() -> None:
        async with world.living(settings):
            await world.ready(settings)
            app = world.report(settings).pids.app
            assert app is not None
            os.kill(app, signal.SIGKILL)
            await eventually("another", lambda: world.report(settings).pids.app not in (None, app))
            await eventually("it is ready again", lambda: world.xds.said(settings.spec.id).count("ready") > 1)
            assert "restarting" in world.xds.said(settings.spec.id)
            assert world.report(settings).problem is None, "what is over is no problem any more"
            world.ask_to_end()

    play(scene)


def test_the_last_words_of_an_app_are_in_the_report_while_it_is_away(world: SidecarWorld, play: Play) -> None:
    settings = world.settings(app=f"once {world.folder / 'first-life'}")
    problems: list[str | None] = []

    async def scene() -> None:
        async with world.living(settings):
            await eventually("there is a report", (settings.files / "state.json").exists)
            await eventually("a problem", lambda: world.report(settings).problem)
            problems.append(world.report(settings).problem)
            await world.ready(settings)
            world.ask_to_end()

    play(scene)
    assert problems[-1] == "web: the app ended with code 3; its last words: Error: no luck"


async def _hurt_envoy(world: SidecarWorld, settings: RunSettings, number: signal.Signals) -> Pids:
    """Send the Envoy of a ready instance a signal; return the processes as they were."""
    await world.ready(settings)
    before = world.report(settings).pids
    assert before.envoy is not None
    os.kill(before.envoy, number)
    return before


def test_an_envoy_that_dies_is_started_again(world: SidecarWorld, play: Play) -> None:
    settings = world.settings()

    async def scene() -> None:
        async with world.living(settings):
            before = await _hurt_envoy(world, settings, signal.SIGKILL)
            # a state may be said twice: that it is ready once more tells nothing alone
            await eventually("another", lambda: world.report(settings).pids.envoy not in (None, before.envoy))
            await eventually("it is ready again", lambda: world.xds.said(settings.spec.id).count("ready") > 1)
            assert world.report(settings).pids.app == before.app
            await eventually("the registry knows", lambda: world.xds.envoy_restarts == {"ended": 1})
            world.ask_to_end()

    play(scene)


def test_an_envoy_that_hangs_is_told_of_and_replaced(
    world: SidecarWorld, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legation.sidecar.envoy.LIMIT", 0.3)
    settings = world.settings()

    async def scene() -> None:
        async with world.living(settings):
            before = await _hurt_envoy(world, settings, signal.SIGSTOP)
            await eventually("a problem", lambda: world.report(settings).problem)
            assert (world.report(settings).problem or "").startswith("its Envoy has not answered for ")
            await eventually("another", lambda: world.report(settings).pids.envoy not in (None, before.envoy))
            await eventually("it is no problem any more", lambda: world.report(settings).problem is None)
            assert world.report(settings).pids.app == before.app
            await eventually("the registry knows", lambda: world.xds.envoy_restarts == {"hung": 1})
            world.ask_to_end()

    play(scene)


def test_an_app_that_listens_for_everybody_is_stopped_with_the_fix(world: SidecarWorld, play: Play) -> None:
    settings = world.settings(app="all")

    async def scene() -> None:
        async with world.living(settings) as life:
            assert await life == EXIT_REJECTED

    play(scene)
    said = world.report(settings)
    assert "Make it listen on the address in HOST" in (said.problem or "")
    assert (said.pids.app, said.pids.envoy) == (None, None)


def test_the_app_waits_for_its_envoy(world: SidecarWorld, play: Play) -> None:
    settings = world.settings()
    world.behaviour["ready"] = False

    async def scene() -> None:
        async with world.living(settings):
            await eventually("Envoy runs", lambda: settings.state.admin(settings.spec.id).exists())
            assert world.report(settings).pids.app is None
            world.ask_to_end()

    play(scene)
    assert "ready" not in world.xds.said(settings.spec.id)


def test_without_xds_server_it_waits_and_can_be_ended(world: SidecarWorld, play: Play) -> None:
    settings = world.settings()
    world.xds.broken = True

    async def scene() -> None:
        async with world.living(settings) as life:
            world.ask_to_end()
            assert await life == 0

    play(scene)


def test_a_registry_that_does_not_take_the_state_is_told_again(world: SidecarWorld, play: Play) -> None:
    settings = world.settings(app=None)

    async def scene() -> None:
        async with world.living(settings):
            await eventually("it has a plan", lambda: settings.spec.id in world.xds.specs)
            world.xds.broken = True
            await eventually("Envoy runs", lambda: settings.state.admin(settings.spec.id).exists())
            assert world.xds.said(settings.spec.id) == []
            world.xds.broken = False
            await world.ready(settings)
            world.xds.broken = True  # a withdrawal that fails does not hold the end up
            world.ask_to_end()

    play(scene)


def test_an_unknown_service_is_an_error(world: SidecarWorld, play: Play) -> None:
    async def scene() -> None:
        with pytest.raises(ControlError, match="no service 'nowhere'"):
            await run(world.settings("nowhere"), {})

    play(scene)


def test_the_first_free_address_is_taken_and_without_one_it_ends(world: SidecarWorld, play: Play) -> None:
    settings = world.settings(app=None)
    first, second = (locks.acquire(f"address/{address}") for address in settings.addresses)
    assert first is not None
    assert second is not None

    async def scene() -> None:
        with pytest.raises(OSError, match=re.escape(f"{', '.join(ADDRESSES)} is taken")):
            await run(settings, {})
        second.close()
        async with world.living(settings):
            await world.ready(settings)
            assert world.report(settings).spec.address == ADDRESSES[1]
            world.ask_to_end()

    with first:
        play(scene)


@pytest.mark.parametrize("wait", [True, False])
def test_a_supervised_instance_asks_its_host_for_a_successor(world: SidecarWorld, play: Play, *, wait: bool) -> None:
    settings = world.settings(app=None, supervised=True)
    asked: list[str] = []

    async def replace_it(request: Request) -> Response:
        asked.append(request.path_params["id"])
        return reply(Replacement(wait=wait))

    async def scene() -> None:
        routes = [Route("/instances/{id}/replace", replace_it, methods=["POST"])]
        async with serve([bind_unix(world.state.control("host"))], routes), world.living(settings):
            await world.ready(settings)
            world.ask_to_end()
            await eventually("the host is asked", lambda: asked)
            if wait:
                assert "withdraw" not in world.xds.said(settings.spec.id), "it serves on"
                world.ask_to_end()

    play(scene)
    assert asked == [settings.spec.id]
    assert world.xds.said(settings.spec.id)[-1] == "withdraw"


def test_without_a_host_it_drains_at_once(world: SidecarWorld, play: Play) -> None:
    settings = world.settings(app=None, supervised=True)

    async def scene() -> None:
        async with world.living(settings):
            await world.ready(settings)
            world.xds.unsynced = ("web-v1-9",)
            world.ask_to_end()

    play(scene)
    assert world.xds.said(settings.spec.id)[-1] == "withdraw"


def test_a_gateway_stops_accepting_before_it_ends(world: SidecarWorld, play: Play) -> None:
    port, lock = locks.app_port()
    settings = world.settings(names.GATEWAY, app=None)
    world.behaviour |= {
        "listeners": ["gateway/8080"],
        "ports": [port],
        "stats": {
            "http.gateway_web.downstream_rq_active": [1, 0, 0],
            "http.gateway_web.downstream_cx_active": [1, 1, 0],
        },
    }

    async def scene() -> None:
        async with world.living(settings):
            await world.ready(settings)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            world.ask_to_end()

    with lock:
        play(scene)
    assert world.events() == ["/drain_listeners?graceful&skip_exit&inboundonly", "/drain_listeners?inboundonly"]


def test_settings_are_the_same_after_a_round_trip(world: SidecarWorld) -> None:
    settings = world.settings()
    assert RunSettings.read(settings.save()) == settings
    alone = replace(settings, folder=None)
    assert RunSettings.read(alone.save()) == alone
