"""Log records for tests."""

from typing import Any

from legation.runtime.control.log_messages import LogRecord

TRACE = "0af7651916cd43dd8448eb211c80319c"


def record(**changes: Any) -> LogRecord:
    """Return a request that went well."""
    given = {
        "time": 1000.0, "kind": "access", "service": "orders", "instance": "orders-v1-0", "version": "v1", "code": 200,
        "text": "GET orders/ 200 3ms", "fields": {"method": "GET", "path": "/"},
    }  # fmt: skip
    return LogRecord(**{**given, **changes})
