"""`legation logs`: what the mesh's proxies and apps have logged, searched and followed."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO
from urllib.parse import urlencode

import msgspec
from rich.text import Text
from ruamel.yaml import YAML

from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.mesh.types import parse_duration
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.log_messages import LogPage, LogRecord
from legation.runtime.state import StateFolder
from legation.runtime.tasks import jittered, pause

_WAIT = 10.0
"""Seconds for which telemetry keeps a question open that has nothing new."""
_ALWAYS_WRONG = (400, 404)
_PATIENCE = 3
"""Questions without an answer after which those who follow are told; telemetry may just be starting anew."""


def moment(option: str, text: str, now: datetime) -> float:
    """Return the seconds since the epoch of `15m` (ago), of `12:30` (UTC, today) or of an ISO 8601 time."""
    try:
        return now.timestamp() - parse_duration(text).total_seconds()
    except ValueError:
        pass
    day = f"{now.date()}T" if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text) else ""
    try:
        given = datetime.fromisoformat(day + text)
    except ValueError:
        raise fail(
            Exit.USAGE,
            f"{option} {text!r}: a time ago such as 15m or 2h, or a time such as 12:30 or 2026-11-28T12:30:00Z",
        ) from None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()


def logs(state: StateFolder, words: Mapping[str, str], output: Format, *, follow: bool) -> Exit:
    """Show the records that these words of telemetry's `GET /logs` ask for; with `follow` what comes later, too."""
    client = ControlClient(state.control("telemetry"), _WAIT + 10)
    try:
        page = asyncio.run(_ask(client, words))
        if not follow:
            _show_page(page, output)
            return Exit.OK
        _show_each(page.records, output)
        asyncio.run(_follow(client, words, page.last, output))
    except ControlError as error:
        if error.status in _ALWAYS_WRONG:
            raise fail(Exit.USAGE, error.text.strip()) from error
        if error.status == 504:
            raise fail(Exit.TIMEOUT, error.text.strip()) from error
        text = f"telemetry of {state.root} does not answer ({error}): legation status{state.option} says why"
        raise fail(Exit.UNREACHABLE, text) from error
    except KeyboardInterrupt:
        pass
    return Exit.OK


async def _ask(client: ControlClient, words: Mapping[str, str]) -> LogPage:
    return await client.get(f"/logs?{urlencode(words)}", LogPage)


async def _follow(client: ControlClient, words: Mapping[str, str], last: int, output: Format) -> None:
    """Show what comes, for ever; a telemetry that starts anew is asked again."""
    failed = 0
    while True:
        try:
            page = await _ask(client, {**words, "after": str(last), "wait": str(_WAIT)})
        except ControlError as error:
            if error.status in _ALWAYS_WRONG:
                raise
            failed += 1
            if failed == _PATIENCE:
                chatter(f"telemetry does not answer ({error}): asking again")
            await pause(jittered(0.5, 5.0, failed))
            continue
        failed, last = 0, page.last
        _show_each(page.records, output)


def _show_page(page: LogPage, output: Format) -> None:
    if output is not Format.TABLE:
        write(page, output)
        return
    if not page.records:
        chatter("nothing that was logged fits")
    _show_each(page.records, output)


def _show_each(records: tuple[LogRecord, ...], output: Format) -> None:
    """Write records one by one: a line each, or a document of YAML."""
    for record in records:
        if output is Format.TABLE:
            console().print(line(record), soft_wrap=True)
        elif output is Format.JSON:
            sys.stdout.write(json.dumps(msgspec.to_builtins(record)) + "\n")
        else:
            sys.stdout.write(_yaml(record))
    sys.stdout.flush()


def _yaml(record: LogRecord) -> str:
    text = StringIO()
    yaml = YAML()
    yaml.explicit_start = True
    yaml.dump(msgspec.to_builtins(record), text)
    return text.getvalue()


def line(record: LogRecord) -> Text:
    """Return a record as one line, whatever it holds: no control character of a stranger's reaches a terminal."""
    return Text.assemble(*_parts(record))


def _parts(record: LogRecord) -> Iterator[tuple[str, str]]:
    time = datetime.fromtimestamp(record.time, UTC)
    yield f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03} ", "dim"
    yield f"{record.instance or record.service or '-'} ", "bold"
    how = record.fields.get("direction") or record.fields.get("stream") or record.kind
    yield f"{how} ", "cyan" if record.kind == "access" else "green"
    yield plain(record.text), "red" if _is_bad(record) else ""
    if record.trace:
        yield f" trace={record.trace}", "dim"
    if record.request:
        yield f" request={plain(record.request)}", "dim"


def _is_bad(record: LogRecord) -> bool:
    return (record.code or 0) >= 500 or bool(record.grpc) or (bool(record.flags) and record.kind == "access")


def plain(text: str) -> str:
    """Return a text whose control and format characters are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
