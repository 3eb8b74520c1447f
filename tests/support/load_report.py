"""What the load client sends, and what came of it: values alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Request:
    """One request to make; `expect` are the statuses that are fine (none given: 200 to 399)."""

    method: str = "GET"
    path: str = "/"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    expect: tuple[int, ...] = ()

    def accepts(self, status: int) -> bool:
        """Say whether a status is as expected."""
        return status in self.expect if self.expect else 200 <= status < 400


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mix: these requests in turn. Any picklable callable from a request's number to a `Request` is one."""

    requests: tuple[Request, ...]

    def __call__(self, number: int) -> Request:
        """Return the request for a number, from 0."""
        # Every other request takes a fresh connection: shift by one each round, so that each kind uses both.
        return self.requests[(number + number // len(self.requests)) % len(self.requests)]


@dataclass(frozen=True, slots=True)
class Record:
    """One request and what came of it. Times are seconds of `time.monotonic()`, the same in every process here."""

    number: int
    method: str
    path: str
    due: float
    start: float
    end: float
    fresh: bool  # on a connection of its own
    status: int | None  # None: no answer
    failure: str | None  # None: as expected
    detail: str = ""  # the beginning of the body of an unexpected answer
    instances: Mapping[str, str] = field(default_factory=dict)  # header x-…instance: value

    @property
    def instance(self) -> str | None:
        """The instance that answered, by `x-instance`."""
        return self.instances.get("x-instance")

    def __str__(self) -> str:
        """Return what happened, in a line."""
        kind = "fresh" if self.fresh else "pooled"
        took = f"{(self.end - self.start) * 1000:.0f} ms"
        what = f"{self.failure or self.status} after {took}"
        return f"#{self.number} {self.method} {self.path} ({kind}): {what} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Report:
    """All requests that ended, in the order of their ends; `dropped` were never sent, as the client was behind."""

    records: tuple[Record, ...]
    wanted_rate: float
    dropped: int = 0

    LATE = 0.1
    """Seconds after its time from which a request counts as late."""

    @property
    def total(self) -> int:
        """How many requests ended."""
        return len(self.records)

    @property
    def failures(self) -> tuple[Record, ...]:
        """The requests that did not end as expected."""
        return tuple(record for record in self.records if record.failure is not None)

    @property
    def late(self) -> int:
        """How many requests started later than they were due: every connection was busy, or the client was."""
        return sum(record.start - record.due > self.LATE for record in self.records)

    @property
    def seconds(self) -> float:
        """From the first request's time to the last one's."""
        dues = [record.due for record in self.records]
        return max(dues) - min(dues) if dues else 0.0

    @property
    def rate(self) -> float:
        """Requests per second that were really started."""
        starts = [record.start for record in self.records]
        spread = max(starts) - min(starts) if starts else 0.0
        return (len(starts) - 1) / spread if spread else 0.0

    def between(self, begin: float, end: float) -> "Report":
        """Return the requests that were under way at some time between two times of `time.monotonic()`."""
        return replace(self, records=tuple(r for r in self.records if r.start <= end and r.end >= begin))

    def answered(self, header: str = "x-instance") -> Counter[str]:
        """Count the requests by a header that names an instance, such as `x-orders-instance`."""
        return Counter(record.instances[header] for record in self.records if header in record.instances)

    def percentile(self, part: float) -> float:
        """Return the seconds, from when a request was due to its end, that `part` (0 to 1) of all took at most."""
        times = sorted(record.end - record.due for record in self.records)
        return times[min(len(times) - 1, int(part * len(times)))] if times else 0.0

    def summary(self) -> str:
        """Return a line of figures, one of the kinds of failure and the first ten failures."""
        fresh = sum(record.fresh for record in self.records)
        kinds = Counter(record.failure for record in self.failures)
        head = (
            f"{self.total} requests in {self.seconds:.1f} s ({self.rate:.0f}/s of {self.wanted_rate:.0f}/s), "
            f"{fresh} on fresh connections: {len(self.failures)} failed, {self.late} late, {self.dropped} dropped, "
            f"p50 {self.percentile(0.5) * 1000:.0f} ms, p99 {self.percentile(0.99) * 1000:.0f} ms"
        )
        counted = [", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())] if kinds else []
        return "\n".join([head, *counted, *(str(record) for record in self.failures[:10])])


SLOW = 1.0
"""Seconds from when a request to the control was due to its end, above which the machine is too slow to tell."""
KEPT = 0.9
"""Share of the rate that a load must keep."""
SPARE = 0.1
"""Share of idle time below which a machine has not enough left for the load."""


def of_the_mesh(report: Report, control: Report) -> tuple[Record, ...]:
    """Return the failures of a load that the control's same load, without a mesh, does not excuse.

    A timeout is the machine's while the control is slow or fails too; a wrong status or a refused
    connection never is.
    """
    bad = [r for r in control.records if r.failure is not None or r.end - r.due > SLOW]
    return tuple(
        record
        for record in report.failures
        if not (record.status is None and "timeout" in str(record.failure) and _overlaps(record, bad))
    )


def kept_its_rate(report: Report, control: Report, idle: float) -> bool:
    """Say whether a load kept its rate, or could not: the control's did not, or the processors had nothing left.

    `idle` is the share of the time that they were idle, 0 to 1.
    """
    machine = control.rate < KEPT * control.wanted_rate or idle < SPARE
    return machine or report.rate >= KEPT * report.wanted_rate


def _overlaps(record: Record, others: list[Record]) -> bool:
    return any(other.due <= record.end and other.end >= record.due for other in others)
