"""What telemetry says of the logs that it keeps."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from legation.runtime.control.log_messages import LogRecord

REASONS = ("full", "rate", "disk", "malformed", "receiver_away", "rejected")


class LogMetrics:
    """Counters that start at 0, each with all of its labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self._kept = Counter("telemetry_log_records", "Log records that were kept", ("kind",), registry=registry)
        self._dropped = Counter(
            "telemetry_log_records_dropped",
            "Log records that were not kept (full, rate, disk, malformed) or did not reach whom they go on to",
            ("reason",),
            registry=registry,
        )
        self._size = Gauge("telemetry_log_store_bytes", "Bytes of log records that are kept", registry=registry)
        self._waiting = Gauge(
            "telemetry_log_forward_waiting_bytes", "Bytes that wait for whom records go on to", registry=registry
        )
        for reason in REASONS:
            self._dropped.labels(reason)
        self._kinds = {kind: self._kept.labels(kind) for kind in ("access", "app")}

    def drop(self, reason: str, number: int) -> None:
        """Count records that are lost."""
        self._dropped.labels(reason).inc(number)

    def keep(self, records: Sequence[LogRecord], size: int) -> None:
        """Count records that are kept, and how much that is now."""
        for kind, counter in self._kinds.items():
            counter.inc(sum(record.kind == kind for record in records))
        self._size.set(size)

    def follow(self, waiting: Callable[[], int]) -> None:
        """Say what waits at each scrape."""
        self._waiting.set_function(waiting)
