"""What docker's log driver `syslog` sends, a line of an app each, as records. Pure.

RFC 5424 with microseconds (`syslog-format: rfc5424micro`), and `tag: <service>/<container>`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from legation.runtime.control.log_messages import LogRecord
from telemetry.logs import line

_MESSAGE = re.compile(
    rb"<\d{1,3}>1 (?P<time>\S+) \S+ (?P<service>[^\s/]+)/(?P<instance>\S+) \S+ \S+ (?:-|\[[^]]*\]) ?(?P<text>.*)",
    re.DOTALL,
)


def records(message: bytes) -> Iterator[LogRecord]:
    """Yield the record of one message; ValueError where it is none."""
    found = _MESSAGE.fullmatch(message.rstrip(b"\n\0"))
    if found is None:
        raise ValueError("no message of RFC 5424 with a tag <service>/<container>")
    now = datetime.fromisoformat(found["time"].decode()).astimezone(UTC).timestamp()
    if found["text"]:
        said = {key: found[key].decode(errors="replace") for key in ("service", "instance")}
        yield line.record(found["text"], **said, version="", now=now)
