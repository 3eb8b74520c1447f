"""What `legation up` shows while it runs: a live table on a terminal, else a line a change."""

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import structlog

from legation.host import probe
from legation.host.host import Host
from legation.host.lines import Lines
from legation.host.status import collect
from legation.runtime.console import chatter
from legation.runtime.control.messages import HostStatus, InstanceStatus
from legation.runtime.state import StateFolder
from legation.runtime.tasks import changed_within, pause

_GATHER = 0.2
"""Seconds in which changes gather before they are shown: each picture asks every Envoy."""
_REFRESH_TABLE = 5.0
"""Seconds after which a table is drawn anew without a change, for counts and the lives of certificates."""
_REFRESH_START = 1.0
_REFRESH_LINES = 300.0

log = structlog.get_logger()


async def show(host: Host) -> None:
    """Show what happens, until the host stops."""
    chatter(f"starting {host.desired.value.mesh}: OpenBao, xds_server, certmgr, telemetry, then every instance")
    try:
        await (_show_table(host) if sys.stderr.isatty() else _show_lines(host))
    except Exception:
        # The root of a task that only shows: a picture that fails may not end a mesh.
        log.exception("no picture any more; legation status still answers")
    chatter(f"ending {host.desired.value.mesh}: every instance finishes the requests that it has")


async def _show_table(host: Host) -> None:
    from rich.console import Console  # noqa: PLC0415 - its memory only where somebody looks
    from rich.live import Live  # noqa: PLC0415

    from legation.host.picture import picture  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, no_color=True if os.environ.get("NO_COLOR") else None)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        async for status, is_up in _statuses(host, _REFRESH_TABLE):
            live.update(picture(status, datetime.now(UTC)), refresh=True)
            if is_up:
                live.console.print(welcome(status))


async def _show_lines(host: Host) -> None:
    lines = Lines()
    async for status, is_up in _statuses(host, _REFRESH_LINES):
        for line in lines.news(status, asyncio.get_running_loop().time()):
            chatter(line)
        if is_up:
            chatter(welcome(status))


async def _statuses(host: Host, refresh: float) -> AsyncIterator[tuple[HostStatus, bool]]:
    """Yield the status after each change; True with the first of a mesh that is up."""
    greeted = False
    while not host.stopping.is_set():
        seen = host.changes.value
        status = await collect(host)
        is_up = not greeted and not probe.missing(status) and not await probe.unreached(status)
        greeted = greeted or is_up
        yield status, is_up
        await pause(_GATHER)
        with contextlib.suppress(TimeoutError):
            await changed_within(host.changes, seen, refresh if greeted else _REFRESH_START)


def welcome(status: HostStatus) -> str:
    """Return what a newcomer is told when the mesh is up: the URL and three things to try."""
    option = StateFolder(Path(status.state)).option
    things = [(f"{_command()} status{option}", "every instance, its certificate and its requests")]
    if status.gateway is not None:
        things.insert(0, (f"curl -s {status.gateway}", "one request, each hop of it over mTLS"))
    if (victim := _victim(status)) is not None:
        things.append((f"kill -9 {victim.pids.app}", f"the app of {victim.id}: it comes back by itself"))
    width = max(36, *(len(command) for command, _ in things))
    lines = [f"  {command:<{width}} {what}" for command, what in things]
    return "\n".join([f"\n{status.mesh} is up: {status.gateway or 'no service is exposed'}\n", *lines, ""])


def _command() -> str:
    """Return how the command is called from here: by its name, where that is on the PATH."""
    own = Path(sys.executable).parent / "legation"
    return "legation" if which("legation") or not own.exists() else os.path.relpath(own)


def _victim(status: HostStatus) -> InstanceStatus | None:
    """Return an instance to kill for show: one that has a twin, where there is such a one."""
    instances = [i for service in status.services for i in service.instances if i.pids.app]
    twins = Counter((i.spiffe_id, i.version) for i in instances)
    return max(instances, key=lambda i: twins[i.spiffe_id, i.version], default=None)
