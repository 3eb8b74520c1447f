"""Which mesh a command is about: the one it is told, else the one that runs, else ./mesh.yaml."""

import asyncio
import os
from pathlib import Path

from legation.cli.output import Exit, fail
from legation.host.layout import HostFile
from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.mesh.source import SourcedMesh
from legation.runtime import mesh_file, process
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import HostStatus
from legation.runtime.edge_files import check_files
from legation.runtime.state import StateFolder, default_root


def read_text(file: Path) -> str:
    """Return a mesh file's text; leaves with exit code 2 when it cannot be read."""
    try:
        return mesh_file.read(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise fail(Exit.USAGE, f"cannot read {file}: {reason}; name a mesh file with -f FILE") from error


def read_mesh(file: Path) -> SourcedMesh:
    """Return a mesh file's content; leaves with all its violations when it has some."""
    text = read_text(file)
    try:
        source = load(text, str(file))
        check_files(source)
    except InvalidMesh as invalid:
        raise fail(Exit.FINDINGS, str(invalid)) from invalid
    return source


def state_of(mesh: str, state: Path | None) -> StateFolder:
    """Return the state folder of a mesh: the one that is named, else the user's own for that mesh."""
    return StateFolder(state or default_root(os.environ) / mesh)


def running(state: Path | None, file: Path | None, missing: Exit = Exit.UNREACHABLE) -> StateFolder:
    """Return the state folder of the mesh that a command is about.

    Leaves with what to do, and the exit code `missing`, when no mesh runs.
    """
    if state is not None:
        return StateFolder(state)
    if file is not None:
        return state_of(read_mesh(file).mesh.mesh, None)
    up = [StateFolder(f.parent) for f in sorted(default_root(os.environ).glob("*/host.json")) if _is_live(f)]
    if len(up) == 1:
        return up[0]
    if up:
        meshes = ", ".join(folder.root.name for folder in up)
        raise fail(Exit.USAGE, f"several meshes run here ({meshes}): choose one with -f mesh.yaml or --state DIR")
    raise fail(missing, "no mesh runs here: start one with legation up -f mesh.yaml")


def _is_live(host_file: Path) -> bool:
    host = HostFile.read(host_file)
    return host is not None and process.runs(host.pid)


def ask_status(state: StateFolder, limit: float = 5.0) -> HostStatus:
    """Return the state of a running mesh; ControlError when it does not answer."""

    async def ask() -> HostStatus:
        client = ControlClient(state.control("host"), limit)
        return await client.get("/status", HostStatus)

    return asyncio.run(ask())


def status_or_leave(state: StateFolder) -> HostStatus:
    """Return the state of a running mesh; leaves with exit code 4 when it does not answer."""
    try:
        return ask_status(state)
    except ControlError as error:
        raise fail(
            Exit.UNREACHABLE, f"no mesh runs from {state.root} ({error}): start it with legation up -f mesh.yaml"
        ) from error
