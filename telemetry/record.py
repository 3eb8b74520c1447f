"""Keeps the record of changes: in memory, and in a file of the state folder that outlives us."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from telemetry.changes import Change, Changes, noted, recent

log = structlog.get_logger()


class Record:
    """The changes of the last day; each is on the disk before anybody is told."""

    def __init__(self, file: Path | None, now: Callable[[], float]) -> None:
        """Take what the file knows; without one the record begins anew with each of our lives."""
        self._file, self._now = file, now
        self._changes = self._read()

    def changes(self) -> tuple[Change, ...]:
        """Return what has changed, oldest first."""
        return recent(self._changes, self._now())

    def note(self, change: Change) -> None:
        """Take a change. A disk that is full loses the file, not the record."""
        self._changes = noted(self._changes, change)
        if self._file is None:
            return
        try:
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(Changes(changes=self._changes)))
            fresh.replace(self._file)
        except OSError as error:
            log.warning("cannot keep what has changed", error=str(error))

    def _read(self) -> tuple[Change, ...]:
        if self._file is None:
            return ()
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Changes).changes
        except (OSError, msgspec.DecodeError):
            return ()
