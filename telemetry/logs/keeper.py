"""The one thread that keeps records: takes batches from the loop, reads what apps wrote, writes both to the store.

Nobody waits for it. What it is too slow for (a slow disk, a busy machine) is dropped where it came in, and counted.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from legation.runtime.control.log_messages import LogRecord
from telemetry.logs import otlp, syslog
from telemetry.logs.budget import Budget
from telemetry.logs.sampling import sampled
from telemetry.logs.store import Store
from telemetry.logs.tail import Tail

log = structlog.get_logger()

MOST_WAITING = 8 << 20
"""Bytes of batches that wait for the disk."""
PER_SECOND = 5000.0
"""Records of requests that went well: above, only failures are kept."""
_LOOK_EVERY = 0.5
_PRUNE_EVERY = 5.0
_PAUSE = 1.0
_NICENESS = 10
"""Requests go first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: bytes, seconds of age, per cent of the requests that went well."""

    size: int = 256 << 20
    age: float = 7 * 86400.0
    sampling: float = 100.0


@dataclass(frozen=True, slots=True)
class Form:
    """How batches are written: their records (DecodeError, ValueError), and how many these are."""

    records: Callable[[bytes], Iterable[LogRecord]]
    count: Callable[[bytes], int]


OTLP = Form(otlp.records, otlp.count)
PASSED_ON = Form(otlp.passed_on, otlp.count)
SYSLOG = Form(syslog.records, lambda _: 1)


class Keeper:
    """A bounded queue of batches, and the thread behind it."""

    def __init__(
        self,
        file: Path,
        tail: Tail,
        dropped: Callable[[str, int], None],
        kept: Callable[[Sequence[LogRecord], int, int], None],
    ) -> None:
        """Prepare; `dropped(reason, number)` and `kept(records, last id, bytes)` are called on its own thread."""
        self._file, self._tail, self._dropped, self._kept = file, tail, dropped, kept
        self._batches: queue.SimpleQueue[tuple[bytes, Form] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.limits = Limits()
        self._store: Store | None = None
        self._pruned, self._failing = 0.0, False

    def offer(self, batch: bytes, form: Form = OTLP) -> None:
        """Take a serialised ExportLogsServiceRequest, or what another form has, or drop it; returns at once."""
        if not self.admit(batch, form):
            self._dropped("full", _count(batch, form))

    def admit(self, batch: bytes, form: Form, *, alone: bool = False) -> bool:
        """Take a batch if there is room for it, and say so: who sends it may keep it. Returns at once.

        `alone`: where nothing else waits there is room for any, as who keeps it would send it for ever.
        """
        with self._lock:
            fits = self._waiting + len(batch) <= MOST_WAITING or (alone and not self._waiting)
            self._waiting += len(batch) if fits else 0
        if fits:
            self._batches.put((batch, form))
        return fits

    async def run(self) -> None:
        """Keep records until cancelled."""
        thread = threading.Thread(target=self._work, name="log-keeper", daemon=True)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._ended.set()
            self._batches.put(None)
            await asyncio.to_thread(thread.join, 2.0)

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        budget = Budget(PER_SECOND, PER_SECOND, time.monotonic())
        while not self._ended.is_set():
            records = self._take(budget)
            try:
                self._keep(records)
            except (sqlite3.Error, OSError) as error:
                # a full or a broken disk: lines of apps stay in their files, and are read again
                self._dropped("disk", len(records))
                if not self._failing:
                    log.warning("cannot keep log records", error=str(error))
                self._failing = True
                self._ended.wait(_PAUSE)
            else:
                self._failing = False
        if self._store is not None:
            self._store.close()

    def _keep(self, records: list[LogRecord]) -> None:
        """Write records, and what apps have written meanwhile; let the oldest go from time to time."""
        if self._store is None:
            self._store = Store(self._file)
            self._tail.done(self._store.places())
        lines, places = self._tail.read(time.time())
        if records or places:
            last = self._store.add([*records, *lines], places)
            self._tail.done(places)
            self._kept([*records, *lines], last, self._store.bytes())
        if time.monotonic() - self._pruned > _PRUNE_EVERY:
            self._pruned = time.monotonic()
            self._store.prune(self.limits.size, time.time() - self.limits.age)

    def _take(self, budget: Budget) -> list[LogRecord]:
        """Wait for a batch, for a while; return the records of all that wait by now."""
        found: list[LogRecord] = []
        size = 0
        try:
            given = self._batches.get(timeout=_LOOK_EVERY)
            while given is not None:
                size += len(given[0])
                found += self._parse(*given)
                given = self._batches.get_nowait() if size < MOST_WAITING // 8 else None
        except queue.Empty:
            pass
        with self._lock:
            self._waiting -= size
        wanted = sampled(found, self.limits.sampling)
        kept = budget.admit(wanted, time.monotonic())
        if len(kept) < len(wanted):
            self._dropped("rate", len(wanted) - len(kept))
        return kept

    def _parse(self, batch: bytes, form: Form) -> list[LogRecord]:
        try:
            return list(form.records(batch))
        except (DecodeError, ValueError):
            self._dropped("malformed", 1)
            return []


def _count(batch: bytes, form: Form) -> int:
    try:
        return form.count(batch)
    except DecodeError:
        return 1
