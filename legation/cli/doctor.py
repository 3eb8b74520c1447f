"""`legation telemetry doctor`: whether a request is seen by everything that is to see it, and where it is lost."""

import asyncio
import secrets
import uuid
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from legation.cli.find import status_or_leave
from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.mesh.load import load
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.messages import InstanceList, MeshDocument
from legation.runtime.state import StateFolder
from telemetry.doctor.examine import Words, examine, tags
from telemetry.doctor.finding import Diagnosis

_COLORS = {"ok": "green", "broken": "red", "off": "dim", "unknown": "yellow"}


def doctor(
    state: StateFolder,
    source: str | None,
    destination: str | None,
    prometheus: str | None,
    jaeger: str | None,
    wait: float,
    form: Format,
) -> Exit:
    """Send a request through a hop of a running mesh and show where it is found."""
    status_or_leave(state)
    words = Words(
        trace="",
        request="",
        source=source or "",
        destination=destination or "",
        prometheus=prometheus,
        jaeger=jaeger,
        wait=wait,
    )
    if form is Format.TABLE:
        chatter(f"asking for up to {wait:.0f} s where the request is")
    found = asyncio.run(_examine(state, words))
    _show(found, form)
    return Exit.FINDINGS if any(finding.state == "broken" for finding in found.findings) else Exit.OK


async def _examine(state: StateFolder, words: Words) -> Diagnosis:
    xds = ControlClient(state.control("xds_server"), 5.0)
    try:
        document = await xds.get("/mesh", MeshDocument)
        instances = (await xds.get("/instances", InstanceList)).instances
    except ControlError as error:
        text = f"xds_server of {state.root} does not answer ({error}): legation status{state.option} says why"
        raise fail(Exit.UNREACHABLE, text) from error
    here = [i for i in instances if state.instance(i.id).is_dir()]
    mesh = load(document.text, document.file).mesh
    trace, request = tags(mesh, lambda: (secrets.token_hex(16), str(uuid.uuid4())))
    words = replace(words, trace=trace, request=request)
    return await examine(mesh, here, ControlClient(state.control("telemetry"), 5.0), words)


def _show(found: Diagnosis, form: Format) -> None:
    if form is not Format.TABLE:
        write(found, form)
        return
    table = Table(box=None, header_style="dim")
    for column in ("link", "", "what was seen", "what to do"):
        table.add_column(column, overflow="fold")
    for one in found.findings:
        table.add_row(one.link, Text(one.state, _COLORS[one.state]), Text(one.said), Text(one.fix))
    console().print(table)
