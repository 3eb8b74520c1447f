"""One line that an app has written, as a record: when, and of which trace, where the line says so. Pure."""

import json
import re
from datetime import UTC, datetime

from legation.runtime.control.log_messages import LogRecord
from telemetry.logs.shorten import shorten

_TRACE = re.compile(r"(?:trace_?-?\.?id[\"']?\s*[:=]\s*[\"']?|\b00-)([0-9a-f]{32})\b", re.IGNORECASE)
"""`trace_id=…`, `"traceId": "…"`, or a `traceparent` (W3C Trace Context §3.2)."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?\d*(?:Z|[+-]\d\d:?\d\d)")
_TIMES = ("time", "timestamp", "@timestamp", "ts")
_NO_TRACE = "0" * 32
_WITHIN = 3600.0
"""Seconds: what lies further away from when a line was read is no time of it."""


def record(line: bytes, *, service: str, instance: str, version: str, now: float, stream: str = "stdout") -> LogRecord:
    """Return a line as a record; `now` is when it was read, for one that bears no time of its own."""
    text = line.decode(errors="replace").rstrip("\r")
    return LogRecord(
        time=_time(text, now),
        kind="app",
        service=service,
        instance=instance,
        version=version,
        trace=trace_of(text),
        text=shorten(text),
        fields={} if stream == "stdout" else {"stream": stream},
    )


def trace_of(text: str) -> str:
    """Return the trace id that a line bears, or nothing."""
    found = _TRACE.search(text)
    trace = found[1].lower() if found else ""
    return "" if trace == _NO_TRACE else trace


def _time(text: str, now: float) -> float:
    said = _json_time(text) if text.startswith("{") else _iso(text[:40])
    return said if said is not None and abs(now - said) < _WITHIN else now


def _json_time(text: str) -> float | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    given = next((content[key] for key in _TIMES if key in content), None)
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        return None
    # pino and bunyan count milliseconds
    return _iso(given) if isinstance(given, str) else given / 1000 if given > 1e11 else float(given)


def _iso(text: str) -> float | None:
    found = _TIME.search(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found[0])
    except ValueError:
        return None
    return moment.astimezone(UTC).timestamp()
