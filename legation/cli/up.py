"""`legation up`: reads the mesh file, then becomes the host's own process, or (`-d`) starts one behind."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from legation.cli.find import ask_status
from legation.cli.output import Exit, chatter
from legation.host import probe
from legation.host.__main__ import RUNNING, UpSettings
from legation.host.layout import HostFile
from legation.host.show import welcome
from legation.mesh.source import SourcedMesh
from legation.mesh.summarize import summarize
from legation.runtime import process
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import HostStatus
from legation.runtime.process import become
from legation.runtime.state import StateFolder, UnsafeFolder
from legation.runtime.tasks import pause


def foreground(source: SourcedMesh, file: Path, state: StateFolder, gateway_port: int | None) -> Exit:
    """Run a mesh until Ctrl-C, SIGTERM or `legation down`: this process becomes the host's. Returns on an error."""
    os.umask(0o077)
    try:
        state.make()
    except UnsafeFolder as error:
        chatter(str(error))
        return Exit.FINDINGS
    settings = UpSettings(str(file), str(state.root), source.text, summarize(source), gateway_port)
    if (status := _running(state)) is not None:
        return already_up(status, state, source.mesh.mesh, file)
    given = state.root / RUNNING
    given.write_bytes(msgspec.json.encode(settings))
    return become("legation.host", given)


def _running(state: StateFolder) -> HostStatus | None:
    """Return the state of the mesh that runs from a state folder, if one does and answers."""
    with contextlib.suppress(ControlError):
        return ask_status(state, 2.0)
    return None


def already_up(status: HostStatus, state: StateFolder, mesh: str, file: Path) -> Exit:
    """Say what runs already from a state folder; FINDINGS where that is not the mesh that was asked for."""
    host, end = HostFile.read(state.host_file), f"legation down --state {state.root}"
    if status.mesh != mesh or (host is not None and Path(host.file) != file):
        by = f", by {host.file}" if host is not None else ""
        chatter(f"mesh {status.mesh} runs from {state.root}{by}: end it first ({end}), or choose another --state DIR")
        return Exit.FINDINGS
    url = status.gateway or "no service is exposed"
    chatter(f"{mesh} is up already: {url}; edit {file.name} to change it, {end} ends it")
    return Exit.OK


def behind(source: SourcedMesh, file: Path, state: StateFolder, gateway_port: int | None, limit: float | None) -> Exit:
    """Start a mesh that outlives this command; with a limit, wait until a request has passed through every service."""
    os.umask(0o077)
    state.make()
    if (status := _running(state)) is not None:
        said = already_up(status, state, source.mesh.mesh, file)
        return _wait(state, None, limit) if limit is not None and said is Exit.OK else said
    argv = [sys.executable, "-m", "legation.cli.main", "up", "-f", str(file), "--state", str(state.root)]
    argv += ["--gateway-port", str(gateway_port)] if gateway_port is not None else []
    with (state.logs / "up.log").open("wb") as output:
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
    try:
        return await ControlClient(state.control("host"), 5.0).get("/status", HostStatus)
    except ControlError:
        return None
