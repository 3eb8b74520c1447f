"""Why an app is not well, by what its Envoy wrote about its checks (Envoy: data.core.v3.HealthCheckEvent). No I/O."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from legation.mesh import names

_FAILURES = "health_check_failure_event", "eject_unhealthy_event"
_WELL = "add_healthy_event"
_NOBODY = "finds nobody: the connection is refused, or closed without an answer"


@dataclass(frozen=True, slots=True)
class Unwell:
    """What the last check found, and since when there is no other (RFC 3339); None: for longer than is known."""

    why: str
    since: str | None = None


def explain(asked: str, log: str) -> Unwell:
    """Return why an app is not well, by the end of its Envoy's log; what it is asked, where that says no more."""
    failures, begun = [], False
    for event in _events(reversed(log.splitlines())):
        if begun := _WELL in event:
            break
        failures.append(event)
    if not failures:
        return Unwell(f"it does not pass its health check ({asked})")
    begun = begun or _failure(failures[-1]).get("first_check") is True
    return Unwell(f"its health check ({asked}) {_found(failures[0])}", failures[-1]["timestamp"] if begun else None)


def _events(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield what was written about checks of the app; the access log may be in the same file."""
    for line in lines:
        try:
            event = json.loads(line) if names.CHECKED_APP in line else None
        except ValueError:  # its begin is cut off
            continue
        if isinstance(event, dict) and not event.keys().isdisjoint((*_FAILURES, _WELL)):
            yield event


def _failure(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(event[kind] for kind in _FAILURES if kind in event)


def _found(event: Mapping[str, Any]) -> str:
    failure = _failure(event)
    match failure.get("failure_type"), event.get("health_checker_type"):
        case "NETWORK", _:
            return _NOBODY
        case "NETWORK_TIMEOUT", _:
            return "has no answer in time"
        case _, "GRPC":
            return "is not answered with SERVING"
        case _:
            status = failure.get("http_status_code")
            return f"is answered with {status}" if status else "is answered with another status than 200"
