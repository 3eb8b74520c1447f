"""What must outlive xds_server: the applied mesh and the instances. A protocol, and its default in SQLite."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from legation.mesh.instance import InstanceSpec
from legation.mesh.rollover import Standing
from legation.runtime.control.messages import MeshDocument
from xds_server.registry.entry import Entry
from xds_server.revocations import Revocations

_TABLES = """
create table if not exists instance (id text primary key, boot text, node text, spiffe_id text, state text,
                                     healthy integer) strict;
create table if not exists mesh (one integer primary key check (one = 1), file text, text text, version text) strict;
create table if not exists revoked (serial text primary key) strict;
create table if not exists rollover (one integer primary key check (one = 1), standing text) strict;
create table if not exists drained (service text primary key, mark text) strict;
"""


class StoreFailed(Exception):
    """What was to be kept is not: the disk is full, say. The text is the store's own."""


class Store(Protocol):
    """Where the registry is kept. Calls may block; the shell runs them in a thread. Writes raise StoreFailed."""

    def load(self) -> list[Entry]:
        """Return all instances."""
        ...

    def save(self, entries: Iterable[Entry], gone: Iterable[str]) -> None:
        """Write these instances and forget those, all or nothing; durable when it returns."""
        ...

    def mesh(self) -> MeshDocument | None:
        """Return the mesh that was applied last."""
        ...

    def save_mesh(self, document: MeshDocument) -> None:
        """Keep the applied mesh."""
        ...

    def revoked(self) -> Revocations:
        """Return which certificates are revoked."""
        ...

    def save_revoked(self, revoked: Revocations) -> None:
        """Keep them, in place of those before."""
        ...

    def rollover(self) -> Standing:
        """Return where the roll-over of the CA stands, and what each host has said."""
        ...

    def save_rollover(self, standing: Standing) -> None:
        """Keep it, in place of what was before; durable when it returns."""
        ...


class SqliteStore:
    """The store of a single xds_server: one file, written ahead, so that a kill at any point loses nothing."""

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + _TABLES)

    def load(self) -> list[Entry]:
        """Return all instances."""
        rows = self._db.execute("select node, spiffe_id, state, healthy from instance order by id")
        return [
            Entry(msgspec.json.decode(node, type=InstanceSpec), spiffe, state, _truth(healthy))
            for node, spiffe, state, healthy in rows
        ]

    def save(self, entries: Iterable[Entry], gone: Iterable[str]) -> None:
        """Write these instances and forget those in one transaction."""
        with self._writing():
            self._db.executemany("delete from instance where id = ?", [(i,) for i in gone])
            self._db.executemany(
                "insert or replace into instance values (?, ?, ?, ?, ?, ?)", [_row(e) for e in entries]
            )

    def mesh(self) -> MeshDocument | None:
        """Return the mesh that was applied last."""
        row = self._db.execute("select file, text, version from mesh").fetchone()
        return MeshDocument(file=row[0], text=row[1], version=row[2]) if row else None

    def save_mesh(self, document: MeshDocument) -> None:
        """Keep the applied mesh."""
        with self._writing():
            self._db.execute(
                "insert or replace into mesh values (1, ?, ?, ?)", (document.file, document.text, document.version)
            )

    def revoked(self) -> Revocations:
        """Return which certificates are revoked."""
        serials = frozenset(row[0] for row in self._db.execute("select serial from revoked"))
        return Revocations(serials, dict(self._db.execute("select service, mark from drained")))

    def save_revoked(self, revoked: Revocations) -> None:
        """Keep them, in place of those before."""
        with self._writing():
            self._db.execute("delete from revoked")
            self._db.executemany("insert into revoked values (?)", [(s,) for s in sorted(revoked.serials)])
            self._db.executemany("insert or replace into drained values (?, ?)", sorted(revoked.drained.items()))

    def rollover(self) -> Standing:
        """Return where the roll-over of the CA stands, and what each host has said."""
        row = self._db.execute("select standing from rollover").fetchone()
        return msgspec.json.decode(row[0], type=Standing) if row else Standing()

    def save_rollover(self, standing: Standing) -> None:
        """Keep it, in place of what was before."""
        with self._writing():
            text = msgspec.json.encode(standing).decode()
            self._db.execute("insert or replace into rollover values (1, ?)", (text,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write all of the block or nothing of it; one at a time, as threads share the connection."""
        try:
            with self._lock, self._db:
                self._db.execute("begin immediate")
                yield
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error


def _row(entry: Entry) -> tuple[str, str, str, str, str, int | None]:
    node = msgspec.json.encode(entry.node, order="sorted").decode()
    healthy = None if entry.healthy is None else int(entry.healthy)
    return (entry.node.id, entry.node.boot, node, entry.spiffe_id, entry.state, healthy)


def _truth(value: int | None) -> bool | None:
    return None if value is None else bool(value)
