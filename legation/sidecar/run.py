"""`legation run`: one instance's whole life."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Mapping
from typing import TypeVar

import structlog

from legation.mesh import names
from legation.runtime import http, locks, process
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import Pids, SidecarPlan
from legation.runtime.lifecycle import stop_on_signals
from legation.runtime.tasks import pause, spawn
from legation.sidecar import drain as draining
from legation.sidecar import report
from legation.sidecar.app import AppProcess, Exposed
from legation.sidecar.drain import Drain, Step
from legation.sidecar.environment import app_environment
from legation.sidecar.envoy import EnvoyProcess
from legation.sidecar.phase import Phase
from legation.sidecar.registration import Registration, plan
from legation.sidecar.settings import RunSettings
from xds_server.compile.bootstrap import BootstrapInput, bootstrap
from xds_server.node import Node

log = structlog.get_logger()

EXIT_REFUSED = 78
"""sysexits.h EX_CONFIG: the app as it is may not run here; starting it again would not help."""

_LOG_LIMIT = 16 << 20
_LOG_EVERY = 10.0
_SAMPLE_EVERY = 0.05

T = TypeVar("T")


class Sidecar:
    """One instance: its Envoy, its app, and its word to the registry."""

    def __init__(self, settings: RunSettings, given: SidecarPlan, app_port: int, inherited: Mapping[str, str]) -> None:
        """Prepare everything; nothing runs yet."""
        self._settings, self._plan, self._app_port = settings, given, app_port
        self._listener = names.GATEWAY_LISTENERS if given.protocol == "gateway" else names.INBOUND
        self._boot = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
        self._phase = Phase(has_app=bool(settings.command))
        self._outbound = settings.gateway_ports or names.outbound_ports(given.calls, {})
        self._client = ControlClient(settings.state.control("xds_server"))
        self._registration = Registration(self._client, settings.instance, self._boot, state=lambda: self._phase.state)
        self._envoy = EnvoyProcess(
            settings.files / "bootstrap.json",
            settings.state.admin(settings.instance),
            settings.files,
            listener=self._listener,
            concurrency=settings.concurrency,
        )
        self._envoy_ready = asyncio.Event()
        self._app = self._make_app(inherited) if settings.command else None

    async def run(self, stop: asyncio.Event) -> int:
        """Live until `stop` is set, then drain; return the exit code."""
        self._write_bootstrap()
        try:
            async with asyncio.TaskGroup() as group:
                keepers = [
                    spawn(group, "envoy", self._envoy.keep(self._envoy_changed)),
                    spawn(group, "app", self._keep_app()),
                ]
                talkers = [
                    spawn(group, "registration", self._registration.keep()),
                    spawn(group, "logs", self._bound_logs()),
                ]
                await stop.wait()
                await self._end([*talkers, *keepers])
        except BaseExceptionGroup as errors:
            if (refused := errors.subgroup(Exposed)) is None:
                raise
            return await self._give_up(str(_first(refused)))
        return 0

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Drain, then stop what still runs. The registration falls silent first: the state is final."""
        log.info("draining")
        self._phase = self._phase.drained()
        tasks[0].cancel()
        await self._drain()
        for task in tasks[1:]:
            task.cancel()
        log.info("ended")

    async def _keep_app(self) -> None:
        """Start the app once Envoy is ready, so that it never calls into nothing."""
        if self._app is not None:
            await self._envoy_ready.wait()
            await self._app.keep(self._app_changed)

    def _envoy_changed(self, ready: bool) -> None:
        if ready:
            self._envoy_ready.set()
        self._moved(self._phase.with_envoy(ready))

    def _app_changed(self, ready: bool) -> None:
        self._moved(self._phase.with_app(ready))

    def _moved(self, phase: Phase) -> None:
        if phase.state != self._phase.state:
            log.info("instance changed", state=phase.state)
        self._phase = phase
        self._registration.changed()
        self._report(self._app.problem if self._app else None)

    async def _drain(self) -> None:
        """Take the steps of the drain machine, in its order."""
        clock = asyncio.get_running_loop().time
        machine = Drain(clock())
        while machine.step is not Step.DONE:
            if machine.step is Step.AWAIT_IDLE:
                await pause(_SAMPLE_EVERY)
                machine.active(await self._in_flight(), clock())
            else:
                await self._carry_out(machine.step)
                machine.done(clock())

    async def _carry_out(self, step: Step) -> None:
        match step:
            case Step.WITHDRAW:
                if unsynced := await self._registration.withdraw(draining.ACK_LIMIT):
                    log.warning("some proxies have not let go of this instance", unsynced=unsynced)
            case Step.DRAIN_LISTENERS:
                await _unless_gone(self._envoy.admin.drain_listeners())
            case Step.STOP_APP:
                if self._app is not None:
                    await self._app.stop(draining.APP_LIMIT)
            case Step.STOP_ENVOY:
                await self._envoy.stop(draining.ENVOY_LIMIT)
            case Step.AWAIT_IDLE | Step.DONE:
                raise AssertionError(f"step {step} is not carried out")

    async def _in_flight(self) -> int:
        """Return the requests in flight; 0 when Envoy is gone."""
        return (
            await _unless_gone(self._envoy.admin.stat(f"http.{names.stat_name(self._listener)}.downstream_rq_active"))
            or 0
        )

    async def _give_up(self, problem: str) -> int:
        """End an instance whose app may not run as it is; say why where people look."""
        log.error("refused", problem=problem)
        self._phase = self._phase.drained()
        await self._registration.withdraw(draining.ACK_LIMIT)
        await self._envoy.stop(draining.ENVOY_LIMIT)
        self._report(problem)
        return EXIT_REFUSED

    async def _bound_logs(self) -> None:
        while True:
            await pause(_LOG_EVERY)
            for name in ("access.log", "app.log", "envoy.log"):
                await asyncio.to_thread(process.bound, self._settings.files / name, _LOG_LIMIT)

    def _make_app(self, inherited: Mapping[str, str]) -> AppProcess:
        given = self._settings
        env = app_environment(
            inherited,
            instance=given.instance,
            version=given.version,
            address=given.address,
            port=self._app_port,
            outbound=self._outbound,
        )
        return AppProcess(
            given.service,
            given.command,
            env=env,
            folder=given.folder,
            log=given.files / "app.log",
            port=self._app_port,
        )

    def _node(self) -> Node:
        given = self._settings
        return Node(
            id=given.instance,
            service=given.service,
            version=given.version,
            boot=self._boot,
            address=given.address,
            port=given.port,
            app_port=self._app_port,
            metrics_port=given.metrics_port,
            zone=given.zone,
            outbound_ports=self._outbound,
        )

    def _write_bootstrap(self) -> None:
        given = self._settings
        text = bootstrap(
            BootstrapInput(
                node=self._node(),
                trust_domain=self._plan.trust_domain,
                xds_host=given.xds_host,
                xds_port=given.xds_port,
                sds_socket=str(given.state.sds(given.service)),
                admin_socket=str(given.state.admin(given.instance)),
            )
        )
        (given.files / "bootstrap.json").write_text(text)
        self._report(None)

    def _report(self, problem: str | None) -> None:
        given = self._settings
        pids = Pids(run=os.getpid(), envoy=self._envoy.pid, app=self._app.pid if self._app else None)
        content = report.Report(
            instance=given.instance,
            service=given.service,
            version=given.version,
            boot=self._boot,
            address=given.address,
            port=given.port,
            app_port=self._app_port,
            spiffe_id=self._plan.spiffe_id,
            pids=pids,
            problem=problem,
        )
        report.write(given.files, content)


async def _unless_gone(asked: Awaitable[T]) -> T | None:
    """Return an Envoy's answer, or None when it no longer gives one."""
    try:
        return await asked
    except http.HttpError:
        return None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of nested groups."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def run(settings: RunSettings, inherited: Mapping[str, str]) -> int:
    """Live as one instance until SIGTERM or SIGINT; return the exit code."""
    stop = stop_on_signals()
    settings.files.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, held = locks.app_port() if settings.command else (0, None)
    client = ControlClient(settings.state.control("xds_server"))
    known = asyncio.ensure_future(plan(client, settings.service))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({known, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not known.done():
            known.cancel()
            return 0
        return await Sidecar(settings, known.result(), port, inherited).run(stop)
    finally:
        stopped.cancel()
        if held is not None:
            held.close()
