"""The records that are kept on this host: one SQLite file, bounded by bytes and by age. Blocking; used off the loop."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from legation.runtime.control.log_messages import LogPage, LogRecord
from telemetry.logs.query import Query

_COLUMNS = "time, kind, service, instance, version, code, grpc, flags, trace, request, text, fields"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, service TEXT NOT NULL,
    instance TEXT NOT NULL, version TEXT NOT NULL, code INTEGER, grpc INTEGER, flags TEXT NOT NULL,
    trace TEXT NOT NULL, request TEXT NOT NULL, text TEXT NOT NULL, fields TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_trace ON records (trace) WHERE trace != '';
CREATE TABLE IF NOT EXISTS places (file TEXT PRIMARY KEY, inode INTEGER NOT NULL, place INTEGER NOT NULL,
    copied INTEGER NOT NULL);
"""
_VERSION = 1
_INSERT = f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_BUSY = 5.0
_AT_ONCE = 20
"""The part of all records that goes when there is no room: a twentieth, or each batch would pay for it."""

_LOOSE = 2
"""How many times larger than its limit the file may be before it is written anew."""


class Store:
    """One file, for one writer; each reader has a connection of its own."""

    def __init__(self, file: Path) -> None:
        """Open the file, or begin a new one where it cannot be read: the old one is kept beside it."""
        self._file = file
        try:
            self._db = self._open()
        except sqlite3.OperationalError:
            raise  # a full disk, a folder that may not be written to: the file itself is good
        except sqlite3.DatabaseError:
            file.replace(file.with_name(file.name + ".broken"))
            for rest in ("-wal", "-shm"):
                file.with_name(file.name + rest).unlink(missing_ok=True)
            self._db = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, records: Sequence[LogRecord], places: Mapping[str, tuple[int, int, int]]) -> int:
        """Keep records, and how far files were read, in one transaction; return the newest id."""
        with self._db:
            self._db.executemany(_INSERT, map(_row, records))
            self._db.executemany(
                "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", ((file, *where) for file, where in places.items())
            )
        return self.last()

    def last(self) -> int:
        """Return the newest id; 0 where there is none."""
        (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
        return int(last)

    def places(self) -> dict[str, tuple[int, int, int]]:
        """Return how far files were read (`tail.Place`)."""
        return {file: (inode, place, copied) for file, inode, place, copied in self._db.execute("SELECT * FROM places")}

    def bytes(self) -> int:
        """Return how much of the file is in use."""
        pages, free, size = (self._pragma(p) for p in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def prune(self, limit: int, oldest: float) -> int:
        """Let records go that are older than `oldest`, and the oldest above `limit` bytes; return how many went."""
        gone = self._delete(self._last_before(oldest))
        while (
            self.bytes() > limit and (found := self._db.execute("SELECT count(*), min(id) FROM records").fetchone())[0]
        ):
            number, first = found
            gone += self._delete(first + number // _AT_ONCE)
        self._give_back(limit)
        return gone

    def _delete(self, last: int) -> int:
        """Let records up to one go, in a transaction of its own: what SQLite notes of it is as large as they are."""
        with self._db:
            return self._db.execute("DELETE FROM records WHERE id <= ?", (last,)).rowcount

    def _give_back(self, limit: int) -> None:
        """Make the file smaller where the limit has become lower: no record will ever need that room."""
        if self._pragma("page_count") * self._pragma("page_size") > _LOOSE * limit:
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _last_before(self, oldest: float) -> int:
        """Return the id before the first record that is young enough; ids grow about as times do."""
        first = self._db.execute("SELECT id FROM records WHERE time >= ? ORDER BY id LIMIT 1", (oldest,)).fetchone()
        return self.last() if first is None else int(first[0]) - 1

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, timeout=_BUSY)
        try:
            _prepare(db)
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    if db.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
        raise sqlite3.DatabaseError("of another version")
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {_VERSION}")


_NOTHING = LogPage(records=(), last=0)


class NotYet(Exception):
    """A file that is just being made."""


def search(file: Path, query: Query, limit: float) -> LogPage:
    """Return what a query asks, oldest first; of a file that is not there yet, nothing.

    TimeoutError after `limit` seconds of searching.
    """
    if not file.exists():
        return _NOTHING
    try:
        with _reading(file, limit) as db:
            (last,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
            found = list(_found(db, query, last))
    except NotYet:
        return _NOTHING
    full = query.after is not None and len(found) == query.limit
    return LogPage(records=tuple(found), last=found[-1].id if full else last)


def _found(db: sqlite3.Connection, query: Query, last: int) -> Iterator[LogRecord]:
    select = f"SELECT id, {_COLUMNS} FROM records WHERE ({query.condition}) AND id <= ?"  # noqa: S608 - query.py's own
    if query.after is not None:
        sql = f"{select} AND id > ? ORDER BY id LIMIT ?"
        values: tuple[int, ...] = (last, query.after, query.limit)
    else:
        sql = f"SELECT * FROM ({select} ORDER BY id DESC LIMIT ?) ORDER BY time, id"  # noqa: S608
        values = (last, query.limit)
    for row in db.execute(sql, (*query.values, *values)):
        yield _record(row)


@contextlib.contextmanager
def _reading(file: Path, limit: float) -> Iterator[sqlite3.Connection]:
    import time  # noqa: PLC0415

    deadline = time.monotonic() + limit
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_BUSY)) as db:
        db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            yield db
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise NotYet from error
            if "interrupt" in str(error):
                raise TimeoutError(f"more than {limit:.0f} s of searching: ask for less, as by --since") from error
            raise


def _row(record: LogRecord) -> tuple[object, ...]:
    fields = msgspec.json.encode(record.fields).decode()
    return (
        record.time, record.kind, record.service, record.instance, record.version, record.code, record.grpc,
        record.flags, record.trace, record.request, record.text, fields,
    )  # fmt: skip


def _record(row: Iterable[object]) -> LogRecord:
    identity, *values, fields = row
    given = dict(zip(_COLUMNS.split(", "), values, strict=False))
    return msgspec.convert({**given, "id": identity, "fields": msgspec.json.decode(str(fields))}, LogRecord)
