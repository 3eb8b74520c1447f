"""What has changed in a mesh lately: shown beside its alerts, and on its dashboards. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from legation.mesh.model.mesh import Mesh
from legation.runtime.control.messages import Instance, Message

Kind = Literal["mesh", "rollout", "scale", "certificates"]

KEPT, AGE = 50, 86400.0
"""So many changes, and so old in seconds, are kept."""
TOGETHER = 60.0
"""Seconds within which the instances of one version that come and go are one change."""
_LONGEST = 200
_NAMED = 5


class Change(Message, frozen=True, kw_only=True):
    """One change: when (seconds since the epoch), of what, and by whom where that is known."""

    at: float
    kind: Kind
    service: Annotated[str, Meta(description="empty: of more than one")] = ""
    version: str = ""
    what: str
    by: str = ""
    started: int = 0
    ended: int = 0


class Changes(Message, frozen=True, kw_only=True):
    """All that are kept, oldest first."""

    changes: tuple[Change, ...] = ()


def noted(known: Sequence[Change], change: Change) -> tuple[Change, ...]:
    """Return what is kept once a change has come to pass; instances that come and go together are one."""
    if any((c.at, c.kind, c.service) == (change.at, change.kind, change.service) for c in known):
        return recent(known, change.at)  # heard again after a restart
    last = next((c for c in reversed(known) if _is_same_rollout(c, change)), None)
    if last is not None:
        known = [c for c in known if c is not last]
        started, ended = last.started + change.started, last.ended + change.ended
        change = rollout(change.at, change.service, change.version, started, ended)
    return recent([*known, replace(change, what=plain(change.what), by=plain(change.by))], change.at)


def recent(known: Sequence[Change], now: float) -> tuple[Change, ...]:
    """Return those that are still kept."""
    return tuple(change for change in known if now - change.at < AGE)[-KEPT:]


def plain(text: str) -> str:
    """Return a text as a label may bear it: one line, and not without end."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _is_same_rollout(one: Change, other: Change) -> bool:
    same = (one.kind, one.service, one.version) == (other.kind, other.service, other.version)
    return other.kind == "rollout" and same and other.at - one.at < TOGETHER


def rollout(at: float, service: str, version: str, started: int, ended: int) -> Change:
    """Return a change of the instances of one version."""
    parts = [f"{number} {word}" for number, word in ((started, "started"), (ended, "ended")) if number]
    what = f"{service} {version}: {', '.join(parts)}"
    return Change(at=at, kind="rollout", service=service, version=version, what=what, started=started, ended=ended)


def of_instances(before: Iterable[Instance], after: Iterable[Instance], at: float) -> Iterator[Change]:
    """Yield a change for each version whose instances have begun to serve, or do so no more.

    One that restarts is the same one; nor does one end that is only unwell.
    """
    known, now = _serving(before), _serving(after)
    found: dict[tuple[str, str], list[int]] = {}
    for number, (here, there) in enumerate(((now, known), (known, now))):
        for instance in here.keys() - there.keys():
            found.setdefault(here[instance], [0, 0])[number] += 1
    for (service, version), (started, ended) in sorted(found.items()):
        yield rollout(at, service, version, started, ended)


def _serving(instances: Iterable[Instance]) -> Mapping[str, tuple[str, str]]:
    states = ("ready", "restarting")
    return {i.id: (i.spec.service, i.spec.version) for i in instances if i.state in states}


def of_mesh(before: Mesh | None, after: Mesh, version: str, at: float, by: str) -> Change:
    """Return the change from one mesh file to another, with the names of what differs."""
    what = f"mesh.yaml {version[:12]}"
    parts = [] if before is None else list(_differences(before, after))
    services = {name for part in parts for name in part[1] if name in after.services}
    said = "; ".join(f"{_some(names)} {word}" for word, names in parts)
    return Change(
        at=at,
        kind="mesh",
        service=services.pop() if len(services) == 1 and len(parts) == 1 else "",
        what=f"{what}: {said}" if said else what,
        by=by,
    )


def _differences(before: Mesh, after: Mesh) -> Iterator[tuple[str, list[str]]]:
    old, new = before.services, after.services
    found = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]]
        + [f for f in type(after).model_fields if f != "services" and getattr(after, f) != getattr(before, f)],
    }
    yield from ((word, names) for word, names in found.items() if names)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
