"""`legation up`: reads the mesh file, then becomes the host's own process, or (`-d`) starts one behind."""

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from legation.cli.find import ask_status
from legation.cli.output import Exit, chatter, fail
from legation.host import probe, start
from legation.host.__main__ import RUNNING, UpSettings
from legation.host.layout import HostFile
from legation.host.show import welcome
from legation.mesh.source import SourcedMesh
from legation.mesh.summarize import summarize
from legation.runtime import process
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import HostStatus
from legation.runtime.process import become
from legation.runtime.state import StateFolder, UnusableFolder
from legation.runtime.tasks import pause, until

_START_LIMIT = 30.0
"""Seconds in which a mesh that is started behind has to answer, up or not."""
_HOST_FILE_LIMIT = 2.0
"""Seconds between a mesh's taking a state folder and its saying so there."""
_LOG_LIMIT = 1 << 20


def _make(state: StateFolder) -> None:
    """Make a state folder, for this user alone; leaves with what to do where that cannot be."""
    os.umask(0o077)
    try:
        state.make()
    except UnusableFolder as error:
        raise fail(Exit.FINDINGS, str(error)) from error


def foreground(source: SourcedMesh, file: Path, state: StateFolder, gateway_port: int | None) -> Exit:
    """Run a mesh until Ctrl-C, SIGTERM or `legation down`: this process becomes the host's. Returns on an error."""
    _make(state)
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
    """Start a mesh that outlives this command; with a limit, wait until requests have answers."""
    _make(state)
    if (status := _running(state)) is not None:
        said = already_up(status, state, source.mesh.mesh, file)
        return asyncio.run(_until_up(state, limit)) if limit is not None and said is Exit.OK else said
    argv = [sys.executable, "-m", "legation.cli.main", "up", "-f", str(file), "--state", str(state.root)]
    argv += ["--gateway-port", str(gateway_port)] if gateway_port is not None else []
    log = state.logs / "up.log"
    process.bound(log, _LOG_LIMIT)
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:  # another `up` that is a moment ahead of us writes there too
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    chatter(f"{source.mesh.mesh} is starting (pid {child.pid}); logs are in {state.logs}")
    return asyncio.run(_until_up(state, limit, Behind(child, source.mesh.mesh, file, log, begin)))


@dataclass(frozen=True, slots=True)
class Behind:
    """A mesh that was started behind this command: its process, its file, and where in which log its words begin."""

    process: "subprocess.Popen[bytes]"
    mesh: str
    file: Path
    log: Path
    begin: int

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it runs."""
        code = self.process.poll()
        return None if code is None else Exit(code) if code in set(Exit) else Exit.INTERNAL

    def in_vain(self, state: StateFolder) -> bool:
        """Say whether another mesh runs from the state folder, or one of another file."""
        return start.runs_other(state, self.mesh, self.file)


async def _until_up(state: StateFolder, limit: float | None, behind: Behind | None = None) -> Exit:
    """Wait until a mesh is up, without a limit but until it has begun; say what is missing when the time is over."""
    loop, only_start = asyncio.get_running_loop(), limit is None
    limit = _START_LIMIT if limit is None else limit
    deadline, said = loop.time() + limit, ""
    lacking: tuple[str, ...] = ("it does not answer yet",)
    while loop.time() < deadline:
        if behind is not None and (ended := behind.exit) is not None:
            if ended is not Exit.OK or not await _runs_by_another(state, behind):
                chatter(process.tail(behind.log, 20, since=behind.begin))
                return ended or (Exit.FINDINGS if behind.in_vain(state) else Exit.UNREACHABLE)
            behind = None
        status = None if behind is not None and behind.in_vain(state) else await _ask(state)
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


async def _runs_by_another(state: StateFolder, behind: Behind) -> bool:
    """Say whether another `up` was quicker, so that ours has found the folder taken by the same mesh."""

    async def runs() -> bool:
        host = HostFile.read(state.host_file)
        return host is not None and process.runs(host.pid)

    return await until(runs, _HOST_FILE_LIMIT) and not behind.in_vain(state)


async def _ask(state: StateFolder) -> HostStatus | None:
    try:
        return await ControlClient(state.control("host"), 5.0).get("/status", HostStatus)
    except ControlError:
        return None
