"""`legation down`: ends a running mesh and waits until nothing of it is left."""

import asyncio

from legation.cli.output import Exit, chatter
from legation.host.layout import HostFile
from legation.runtime import process
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.state import StateFolder
from legation.runtime.tasks import until


def down(state: StateFolder, limit: float) -> Exit:
    """End the mesh of a state folder."""
    host = HostFile.read(state.host_file)
    if host is None or not process.runs(host.pid):
        chatter(f"no mesh runs from {state.root}")
        return Exit.OK
    return asyncio.run(_down(state, host, limit))


async def _down(state: StateFolder, host: HostFile, limit: float) -> Exit:
    chatter(f"ending {host.mesh}: every instance finishes the requests that it has")
    try:
        await ControlClient(state.control("host")).post("/down")
    except ControlError as error:
        chatter(f"{error}: end pid {host.pid} with kill {host.pid}")
        return Exit.UNREACHABLE

    async def ended() -> bool:
        return not process.runs(host.pid)

    if not await until(ended, limit, every=0.1):
        chatter(f"not ended after {limit:.0f} s: pid {host.pid} still runs; logs are in {state.logs}")
        return Exit.TIMEOUT
    chatter(f"{host.mesh} is down")
    return Exit.OK
