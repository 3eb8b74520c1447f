"""`legation run`: one instance's whole life."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace

import structlog

from legation.mesh import names
from legation.runtime import http, process
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import InstanceState, Pids, SidecarPlan, SidecarRequest
from legation.runtime.supervisor import Program
from legation.runtime.tasks import pause, spawn
from legation.sidecar import report
from legation.sidecar.app import AppProcess, Exposed
from legation.sidecar.control import xds_server
from legation.sidecar.drain import ACK_LIMIT, ENVOY_LIMIT
from legation.sidecar.ending import Drainer, Termination
from legation.sidecar.environment import app_environment
from legation.sidecar.envoy import EnvoyProcess
from legation.sidecar.modules import lines_module
from legation.sidecar.phase import Phase
from legation.sidecar.place import completed
from legation.sidecar.registration import Registration, Said, plan
from legation.sidecar.settings import RunSettings

log = structlog.get_logger()

EXIT_REJECTED = 78
"""sysexits.h EX_CONFIG: the app as it is may not run here; starting it again would not help."""

_APPS_EVERY = 2.0
"""Seconds between looks at whether Envoy knows of an app."""

_LOG_LIMIT = 16 << 20
_LOG_EVERY = 30.0


class Sidecar:
    """One instance: its Envoy, its app, and its reports to the registry."""

    def __init__(
        self, settings: RunSettings, given: SidecarPlan, client: ControlClient, inherited: Mapping[str, str]
    ) -> None:
        """Prepare everything; nothing runs yet."""
        self._settings, self._plan = replace(settings, spec=given.spec), given
        self._is_gateway = given.spec.service == names.GATEWAY
        self._listener = names.GATEWAY_LISTENERS if self._is_gateway else names.INBOUND
        self._phase = Phase(has_app=bool(settings.command or settings.app), apart=bool(settings.app))
        self._envoy = EnvoyProcess(self._settings, self._listener, self._envoy_changed)
        self._registration = Registration(client, given.spec, self._said, self._mark)
        self._envoy_ready = asyncio.Event()
        self._app = self._make_app(inherited) if settings.command else None

    async def run(self, termination: Termination) -> int:
        """Live until the termination is due, then drain; return the exit code."""
        (self._settings.files / "bootstrap.json").write_text(self._plan.bootstrap)
        self._report()
        try:
            async with asyncio.TaskGroup() as group:
                talk = spawn(group, "registration", self._registration.keep())
                tasks = [
                    spawn(group, "envoy", self._envoy.keep()),
                    spawn(group, "app", self._look_for_apps() if self._settings.app else self._keep_app()),
                    spawn(group, "logs", self._bound_envoy_log()),
                ]
                await termination.due(self._settings)
                talk.cancel()  # first: the state is final
                await self._drain()
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as errors:
            if (exposed := errors.subgroup(Exposed)) is None:
                raise
            return await self._give_up(str(_first(exposed)))
        log.info("ended")
        return 0

    async def _keep_app(self) -> None:
        """Start the app once Envoy is ready, so that it never calls into nothing."""
        if self._app is not None:
            await self._envoy_ready.wait()
            await self._app.keep()

    async def _look_for_apps(self) -> None:
        """See whether Envoy has an app to send requests to; they come and go without a word to us."""
        while True:
            await self._envoy_ready.wait()
            with suppress(http.HttpError):
                found = await self._envoy.admin.has_healthy_host(names.LOCAL_APP)
                if found != self._phase.app_ready:
                    self._app_changed(found)
            await pause(_APPS_EVERY)

    def _said(self) -> Said:
        return Said(self._phase.state, self._envoy.restarts)

    def _envoy_changed(self, ready: bool) -> None:
        if ready:
            self._envoy_ready.set()
        self._move(self._phase.with_envoy(ready))

    def _app_changed(self, ready: bool) -> None:
        self._move(self._phase.with_app(ready))

    def _move(self, phase: Phase) -> None:
        if phase.state != self._phase.state:
            log.info("instance changed", state=phase.state)
        self._phase = phase
        self._registration.changed()
        self._report()

    def _mark(self, known: InstanceState) -> None:
        """Say to the health check of a container whether callers have our address, and somebody answers there."""
        if self._settings.beside and (known == "ready" or self._phase.serves_without_app):
            self._settings.state.ready.touch()
        else:
            self._settings.state.ready.unlink(missing_ok=True)

    async def _drain(self) -> None:
        log.info("draining")
        self._phase = self._phase.drained()
        drainer = Drainer(self._settings.spec, self._listener, self._registration, self._envoy, self._app)
        await drainer.run()

    async def _give_up(self, problem: str) -> int:
        """End an instance whose app may not run as it is; say why where people look."""
        log.error("app rejected", problem=problem)
        self._phase = self._phase.drained()
        await self._registration.withdraw(ACK_LIMIT)
        await self._envoy.stop(ENVOY_LIMIT)
        self._report(problem)
        return EXIT_REJECTED

    async def _bound_envoy_log(self) -> None:
        while True:
            await pause(_LOG_EVERY)
            process.bound(self._settings.files / "envoy.log", _LOG_LIMIT)

    def _make_app(self, inherited: Mapping[str, str]) -> AppProcess:
        given = self._settings
        command, env = list(given.command), app_environment(inherited, given.spec)
        program = Program(
            given.spec.service,
            lambda: command,
            given.files / "app.log",
            errors=given.files / "app.stderr.log",
            env=env,
            folder=given.folder,
        )
        return AppProcess(given.spec.service, program, given.spec.app_port, self._app_changed)

    def _report(self, problem: str | None = None) -> None:
        app = self._app
        pids = Pids(run=os.getpid(), envoy=self._envoy.pid, app=app.pid if app else None)
        said = problem or self._envoy.problem or (app.problem if app else None)
        content = report.Report(spec=self._settings.spec, spiffe_id=self._plan.spiffe_id, pids=pids, problem=said)
        report.write(self._settings.files, content)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of nested groups."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def run(settings: RunSettings, inherited: Mapping[str, str]) -> int:
    """Live as one instance until SIGTERM or SIGINT; return the exit code.

    ControlError when xds_server does not know the service, OSError when no address is free.
    """
    termination = Termination.on_signals()
    settings.files.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as held:
        settings = await completed(settings, held)
        async with xds_server(settings) as client:
            given = await _plan_unless_ended(client, settings, termination)
            if given is None:
                return 0
            return await Sidecar(settings, given, client, inherited).run(termination)


async def _plan_unless_ended(
    client: ControlClient, settings: RunSettings, termination: Termination
) -> SidecarPlan | None:
    """Return what xds_server plans for the instance, or None when its end is asked for before that is known."""
    request = SidecarRequest(
        spec=replace(settings.spec, in_environment=True, lines_module=lines_module()),
        xds_host=settings.xds_host,
        xds_port=settings.xds_port,
        sds_socket=str(settings.sds_socket),
        admin_socket=str(settings.state.admin(settings.spec.id)),
        logs_socket=settings.logs_socket,
    )
    known = asyncio.ensure_future(plan(client, request))
    asked = asyncio.ensure_future(termination.asked.wait())
    await asyncio.wait({known, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if known.done():
        return known.result()
    known.cancel()
    return None
