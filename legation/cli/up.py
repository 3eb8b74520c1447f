"""`legation up`: a whole mesh on this host, in the foreground or (`-d`) behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import structlog
from rich.live import Live

from legation.cli.find import ask_status
from legation.cli.output import Exit, chatter, console
from legation.cli.picture import picture
from legation.host import control, probe, start, watch
from legation.host.host import Host
from legation.host.status import collect
from legation.mesh.source import SourcedMesh
from legation.runtime import log as logs
from legation.runtime import process
from legation.runtime.control import server as wire
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import HostStatus, InstanceStatus
from legation.runtime.state import StateFolder, UnsafeFolder
from legation.runtime.tasks import pause, spawn

_REFRESH = 1.0

log = structlog.get_logger()


def foreground(source: SourcedMesh, file: Path, state: StateFolder, gateway_port: int | None) -> Exit:
    """Run a mesh until Ctrl-C, SIGTERM or `legation down`."""
    os.umask(0o077)
    try:
        with start.taken(state, file, source.mesh, gateway_port) as taken:
            logs.set_up("host", to=state.logs / "host.log")
            asyncio.run(_live(Host(state, taken, source), file))
    except start.AlreadyUp:
        return already_up(state)
    except (start.CannotStart, UnsafeFolder) as error:
        chatter(str(error))
        return Exit.FINDINGS
    return Exit.OK


def already_up(state: StateFolder) -> Exit:
    """Say that the mesh runs already, and where."""
    try:
        status = ask_status(state)
    except ControlError:
        chatter(f"a mesh is starting or ending from {state.root}; look again in a moment")
        return Exit.OK
    chatter(f"{status.mesh} is up: {status.gateway or 'no service is exposed'}")
    return Exit.OK


def behind(source: SourcedMesh, file: Path, state: StateFolder, gateway_port: int | None, limit: float | None) -> Exit:
    """Start a mesh that outlives this command; with a limit, wait until a request has passed through every service."""
    os.umask(0o077)
    state.make()
    with contextlib.suppress(ControlError):
        if ask_status(state, 2.0).mesh == source.mesh.mesh:
            already_up(state)
            return _wait(state, None, limit) if limit is not None else Exit.OK
    argv = [sys.executable, "-m", "legation.cli.main", "up", "-f", str(file), "--state", str(state.root)]
    argv += ["--gateway-port", str(gateway_port)] if gateway_port is not None else []
    log = state.logs / "up.log"
    with log.open("wb") as output:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    chatter(f"{source.mesh.mesh} is starting (pid {child.pid}); logs are in {state.logs}")
    return _wait(state, child, 30.0 if limit is None else limit, only_start=limit is None)


def _wait(
    state: StateFolder, child: "subprocess.Popen[bytes] | None", limit: float | None, *, only_start: bool = False
) -> Exit:
    """Wait until a mesh is up; say what is missing when the time is over."""
    return asyncio.run(_until_up(state, child, limit or 0.0, only_start=only_start))


async def _until_up(
    state: StateFolder, child: "subprocess.Popen[bytes] | None", limit: float, *, only_start: bool
) -> Exit:
    loop = asyncio.get_running_loop()
    deadline, said = loop.time() + limit, ""
    lacking: tuple[str, ...] = ("it does not answer yet",)
    while loop.time() < deadline:
        if child is not None and child.poll() is not None:
            chatter(process.tail(state.logs / "up.log", 20))
            return Exit(child.returncode) if child.returncode in set(Exit) else Exit.INTERNAL
        status = await _ask(state)
        if status is not None:
            lacking = () if only_start else probe.missing(status) or await probe.unreached(status)
            if not lacking:
                chatter(welcome(status))
                return Exit.OK
            if lacking[0] != said:
                said = lacking[0]
                chatter(f"waiting: {said}")
        await pause(0.3)
    chatter(f"not up after {limit:.0f} s:")
    for line in lacking:
        chatter(f"  {line}")
    chatter(f"logs are in {state.logs} and {state.instances}; end it with legation down --state {state.root}")
    return Exit.TIMEOUT


async def _ask(state: StateFolder) -> HostStatus | None:
    client = ControlClient(state.control("host"), 5.0)
    try:
        return await client.get("/status", HostStatus)
    except ControlError:
        return None


def welcome(status: HostStatus) -> str:
    """Return what a newcomer is told when the mesh is up: the URL and three things to try."""
    things = [(f"{_command()} status", "every instance, its certificate and its requests")]
    if status.gateway is not None:
        things.insert(0, (f"curl -s {status.gateway}", "one request, each hop of it over mTLS"))
    if (victim := _victim(status)) is not None:
        things.append((f"kill -9 {victim.pids.app}", f"the app of {victim.id}: it comes back by itself"))
    lines = [f"  {command:<36} {what}" for command, what in things]
    return "\n".join([f"\n{status.mesh} is up: {status.gateway or 'no service is exposed'}\n", *lines, ""])


def _command() -> str:
    """Return how this command is called from here: by its name, where that is on the PATH."""
    own = Path(sys.executable).parent / "legation"
    return "legation" if which("legation") or not own.exists() else os.path.relpath(own)


def _victim(status: HostStatus) -> InstanceStatus | None:
    """Return an instance to kill for show: one that has a twin, where there is such a one."""
    instances = [i for service in status.services for i in service.instances if i.pids.app]
    twins = Counter((i.spiffe_id, i.version) for i in instances)
    return max(instances, key=lambda i: twins[i.spiffe_id, i.version], default=None)


async def _live(host: Host, file: Path) -> None:
    """Run the host, its control API, the file's watch and the picture."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, host.stopping.set)
    served = wire.serve([wire.bind_unix(host.state.control("host"))], control.routes(host))
    async with served, asyncio.TaskGroup() as group:
        shown = spawn(group, "picture", _show(host))
        watched = spawn(group, "file", watch.follow(host, file))
        await host.run()
        shown.cancel()
        watched.cancel()
    chatter(f"{host.applied.value.mesh.mesh} is down")
    host.state.control("host").unlink(missing_ok=True)


async def _show(host: Host) -> None:
    """Show what happens: a table that follows on a terminal, else a line a change."""
    chatter(f"starting {host.applied.value.mesh.mesh}: OpenBao, xds_server, certmgr, telemetry, then every instance")
    try:
        await (_show_table(host) if console(stderr=True).is_terminal else _show_lines(host))
    except Exception:
        # The root of a task that only shows: a picture that fails may not end a mesh.
        log.exception("no picture any more; legation status still answers")
    chatter(f"ending {host.applied.value.mesh.mesh}: every instance finishes the requests that it has")


async def _show_table(host: Host) -> None:
    with Live(console=console(stderr=True), auto_refresh=False, transient=False) as live:
        greeted = False
        async for status in _statuses(host):
            live.update(picture(status, datetime.now(UTC)), refresh=True)
            if not greeted and not probe.missing(status) and not await probe.unreached(status):
                greeted = True
                live.console.print(welcome(status))


async def _show_lines(host: Host) -> None:
    said: dict[str, str] = {}
    greeted = False
    async for status in _statuses(host):
        for line_id, text in _lines(status).items():
            if said.get(line_id) != text:
                chatter(f"{line_id}: {text}")
        said = _lines(status)
        if not greeted and not probe.missing(status) and not await probe.unreached(status):
            greeted = True
            chatter(welcome(status))


def _lines(status: HostStatus) -> dict[str, str]:
    """Return one line for each thing that can change."""
    components = {name: getattr(status, name).state for name in ("openbao", "xds_server", "certmgr", "telemetry")}
    instances = [*status.gateways, *(i for s in status.services for i in s.instances)]
    return {
        **components,
        **{i.id: "healthy" if i.healthy else i.state for i in instances},
        **{f"problem {n}": problem for n, problem in enumerate(status.problems)},
    }


async def _statuses(host: Host) -> AsyncIterator[HostStatus]:
    while not host.stopping.is_set():
        yield await collect(host)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH):
                await host.stopping.wait()
