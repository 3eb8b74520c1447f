"""The ledger on disk: one line for each certificate that was issued or revoked here, on the disk before it counts."""

import os
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path

import structlog

from certmgr.core.ledger import Record, Tampered, Tip, line, read, tip_of
from certmgr.store import sync_folder

log = structlog.get_logger(__name__)


class Ledger:
    """The ledger of one host. Any thread may add."""

    def __init__(self, path: Path) -> None:
        """Name the file; `open` reads it."""
        self.path = path
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._synced = 0
        self._descriptor: int | None = None
        self._size = 0
        self._tip = Tip()
        self._issued: dict[str, Record] = {}
        self._revoked: set[str] = set()

    def open(self, now: float) -> str | None:
        """Read what is there; return what is wrong with it. A broken one is put aside, and a new one begun."""
        if not self.path.exists():
            return None
        _drop_torn_end(self.path)
        try:
            with self.path.open(encoding="utf-8") as lines:
                for record, tip in read(lines):
                    self._tip = tip
                    self._remember(record, now)
        except (Tampered, UnicodeDecodeError) as error:
            aside = self.path.with_name(f"ledger.broken-{int(now)}.jsonl")
            self.path.rename(aside)
            self._tip = Tip()
            return f"{self.path}: {error}; it is kept as {aside.name}, and a new one is begun"
        return None

    def add(self, record: Record) -> None:
        """Write one line; when this returns it is on the disk."""
        self.append(record)
        self.settle()

    def append(self, record: Record) -> None:
        """Write one line: it outlives this process, and with `settle` the machine too."""
        with self._lock:
            text, tip = line(record, self._tip)
            self._size = _write(self._file(), text.encode(), self._size)
            self._tip = tip
            self._remember(record, record.time)

    @property
    def lines(self) -> int:
        """How many lines are written."""
        return self._tip.lines

    def settle(self, lines: int | None = None) -> None:
        """Return when so many lines (None: all) are on the disk; another's wait may have brought them there too."""
        mine = self._tip.lines if lines is None else lines
        with self._syncing:
            if self._synced >= mine:
                return
            written = self._tip.lines
            with self._lock:
                self._look_whether_removed()
                descriptor = self._file()
            os.fsync(descriptor)
            if not self._synced:  # the file itself may be new
                sync_folder(self.path.parent)
            self._synced = written

    def _file(self) -> int:
        """Return the descriptor of the file, which stays open: other threads wait while one writes its line."""
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
            self._closing = weakref.finalize(self, os.close, self._descriptor)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _look_whether_removed(self) -> None:
        """Begin another file where this one was removed: its chain has no beginning, so the next start says so."""
        if self._descriptor is not None and not os.fstat(self._descriptor).st_nlink:
            self._closing()
            self._descriptor = None

    def live(self, now: float) -> tuple[Record, ...]:
        """Return what was issued, is not revoked and has not ended."""
        with self._lock:
            self._issued = {serial: known for serial, known in self._issued.items() if known.not_after > now}
            return tuple(known for serial, known in self._issued.items() if serial not in self._revoked)

    def find(self, serial: str) -> Record | None:
        """Return the issue of a serial; None when it was not issued here, or has ended."""
        return self._issued.get(serial)

    def revoked(self, now: float) -> frozenset[str]:
        """Return the serials that were revoked here and have not ended."""
        return frozenset(s for s in self._revoked if s not in self._issued or self._issued[s].not_after > now)

    def is_revoked(self, serial: str) -> bool:
        """Say whether a certificate was revoked here."""
        return serial in self._revoked

    def _remember(self, record: Record, now: float) -> None:
        if record.not_after <= now:
            return
        if record.what == "issue":
            self._issued[record.serial] = record
        else:
            self._revoked.add(record.serial)


def verify(paths: Iterable[Path]) -> Tip:
    """Return where the chain of a ledger's file ends; Tampered when it is broken."""
    tip = Tip()
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            tip = tip_of(lines)
    return tip


def _write(descriptor: int, data: bytes, size: int) -> int:
    """Append all or nothing, as a full disk may take a part; return the file's size after it."""
    left = data
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    return size + len(data)


def _drop_torn_end(path: Path) -> None:
    """Take off a last line that a crash cut: it was never on the disk, so nothing relies on it."""
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            log.warning("ledger ends in a line that was cut off; it is dropped", bytes=len(content) - whole)
            file.truncate(whole)
