"""`legation certs timeline`: what happened to certificates on this host, out of its ledger, oldest first."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from certmgr.core.crl import normal
from certmgr.core.ledger import Record, Tampered, read
from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.runtime.control.messages import Message
from legation.runtime.state import StateFolder


class Event(Message, frozen=True, kw_only=True):
    """One issue or revocation. Times are RFC 3339."""

    time: str
    what: str
    identity: str
    serial: str
    until: str
    by: str
    request_id: str


class Timeline(Message, frozen=True, kw_only=True):
    """What happened, oldest first."""

    events: tuple[Event, ...]
    schema: int = 1


def timeline(state: StateFolder, which: str | None, form: Format) -> Exit:
    """Show what was issued and revoked: all of it, or of one identity or serial. FINDINGS where it is broken."""
    found: list[Event] = []
    broken = None
    try:
        found.extend(_event(record) for record in _records(state.certmgr / "ledger.jsonl") if _is_of(record, which))
    except (Tampered, UnicodeDecodeError) as error:
        broken = str(error)
    if form is Format.TABLE:
        _table(found)
    else:
        write(Timeline(events=tuple(found)), form)
    if broken is not None:
        chatter(f"the ledger is not as it was written, and is not believed from there on: {broken}")
        return Exit.FINDINGS
    if not found:
        chatter(f"nothing is known of {which} here" if which else "nothing was issued here yet")
    return Exit.OK


def _records(path: Path) -> Iterator[Record]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from (record for record, _ in read(lines))
    except FileNotFoundError:
        raise fail(Exit.USAGE, f"there is no ledger at {path}: nothing was issued here yet") from None


def _is_of(record: Record, which: str | None) -> bool:
    return which is None or record.identity == which or record.serial == normal(which)


def _event(record: Record) -> Event:
    return Event(
        time=_moment(record.time),
        what={"issue": "issued", "revoke": "revoked"}[record.what],
        identity=record.identity,
        serial=record.serial,
        until=_moment(record.not_after),
        by=record.by,
        request_id=record.request_id,
    )


def _table(events: list[Event]) -> None:
    table = Table("time", "", "identity", "serial", "until", "by", box=None, header_style="bold")
    for event in events:
        table.add_row(event.time, event.what, event.identity, event.serial, event.until, event.by or "-")
    console().print(table)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
