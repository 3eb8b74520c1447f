"""Which records are kept when more come than may be: those of failures first. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from legation.runtime.control.log_messages import LogRecord


@dataclass(slots=True)
class Budget:
    """So many records a second, and as many at once; what goes well counts, what fails passes in any case."""

    per_second: float
    left: float
    since: float

    def admit(self, records: Sequence[LogRecord], now: float) -> list[LogRecord]:
        """Return the records that are kept, in their order; `now` is in seconds, from any start."""
        self.left = min(self.per_second, self.left + (now - self.since) * self.per_second)
        self.since = now
        if len(records) <= self.left:
            self.left -= len(records)
            return list(records)
        kept = []
        for record in records:
            if self.left >= 1 or has_failed(record):
                kept.append(record)
                self.left = max(0.0, self.left - 1)
        return kept


def has_failed(record: LogRecord) -> bool:
    """Say whether a record is of something that went wrong, or an app's own words."""
    return record.kind == "app" or bool(record.flags) or record.code is None or record.code >= 500 or bool(record.grpc)
