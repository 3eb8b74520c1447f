"""`python -m legation.host FILE`: a whole mesh on this host, by what the command has read. Light: it runs for ever."""

import legation.runtime.lean  # isort: skip  # noqa: F401 - first

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from legation.host import control, show, start, watch
from legation.host.host import Given, Host
from legation.mesh.desired import DesiredMesh
from legation.runtime import log as logs
from legation.runtime.console import Exit, chatter
from legation.runtime.control import server
from legation.runtime.lifecycle import light
from legation.runtime.state import StateFolder, UnusableFolder
from legation.runtime.tasks import spawn

RUNNING = "up.json"
"""The file in the state folder by which the command hands over."""


@dataclass(frozen=True, slots=True)
class UpSettings:
    """What `legation up` was told, and the mesh file that it has read and found valid."""

    file: str
    root: str
    text: str
    desired: DesiredMesh
    gateway_port: int | None = None


def main() -> int:
    """Run a mesh until Ctrl-C, SIGTERM or `legation down`; return the exit code."""
    os.umask(0o077)
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=UpSettings)
    state = StateFolder(Path(settings.root))
    try:
        with start.taken(state, Path(settings.file), settings.desired, settings.gateway_port) as taken:
            logs.set_up("host", to=state.logs / "host.log")
            light()
            chosen = taken.gateway_ports if settings.gateway_port is not None else {}
            asyncio.run(_live(Host(Given(state, taken, settings.text, settings.desired, chosen))))
    except start.AlreadyUp:
        to = state.option
        chatter(f"a mesh runs from {state.root} already: see legation status{to}, or end it with legation down{to}")
        return Exit.FINDINGS if start.runs_other(state, settings.desired.mesh, Path(settings.file)) else Exit.OK
    except (start.CannotStart, UnusableFolder) as error:
        chatter(str(error))
        return Exit.FINDINGS
    return Exit.OK


async def _live(host: Host) -> None:
    """Run the host, its control API, the file's watch and what is shown."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, host.stopping.set)
    socket = host.state.control("host")
    async with server.serve([server.bind_unix(socket)], control.routes(host)), asyncio.TaskGroup() as group:
        shown = spawn(group, "show", show.show(host))
        watched = spawn(group, "file", watch.follow(host))
        await host.run()
        shown.cancel()
        watched.cancel()
    chatter(f"{host.desired.value.mesh} is down")
    socket.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
