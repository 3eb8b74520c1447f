"""The work of `legation slo`: objectives are mesh.yaml's, what has become of them is Prometheus's word."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from legation.cli.output import Exit, Format, chatter, console, fail, write
from legation.mesh.model.mesh import Mesh
from legation.mesh.types import format_duration
from legation.runtime.control.messages import Message
from legation.runtime.prometheus import Prometheus, PrometheusError
from telemetry.rules.alerts.budget import FEWEST, PACES
from telemetry.rules.conventions import BAD, BUDGET_LEFT, BURN, OBJECTIVE, SERVICE, selector
from telemetry.rules.objectives import LONG_WINDOWS, SHORT_WINDOWS, objectives, seconds

WINDOWS = ("5m", *SHORT_WINDOWS, *LONG_WINDOWS)
PERIOD = 30 * 86400
"""Seconds of an objective."""

Key = tuple[str, str]
"""A service and which of its objectives."""


class Objective(Message, frozen=True, kw_only=True):
    """One objective; what is not known is null."""

    service: str
    objective: str
    promise: str
    budget_left: float | None = None
    burn: dict[str, float | None] = {}
    severity: str | None = None
    exhausted_in_seconds: float | None = None


class Objectives(Message, frozen=True, kw_only=True):
    """`legation slo list -o json`, and `legation slo burn -o json`."""

    mesh: str
    objectives: tuple[Objective, ...]
    schema: int = 1


@dataclass(slots=True)
class Measured:
    """What Prometheus has recorded of each objective: series by name, each by service and objective."""

    values: dict[str, dict[Key, float]] = field(default_factory=dict)

    def get(self, series: str, key: Key) -> float | None:
        """Return a value; None where it is not known."""
        value = self.values.get(series, {}).get(key)
        return value if value is not None and math.isfinite(value) else None


def listed(mesh: Mesh, url: str | None, form: Format) -> Exit:
    """Show all objectives with what is left of their budgets; `-` where nobody measures."""
    there = url or (mesh.prometheus.url if mesh.prometheus is not None else None)
    if there is None:
        chatter("no Prometheus is named: give --prometheus-url URL, or prometheus.url in mesh.yaml, for budgets")
    measured, reached = _measured(mesh, there, (BUDGET_LEFT,))
    found = [_objective(mesh, key, measured, ()) for key in objectives(mesh)]
    _show(mesh, found, (), form)
    return _exit(found, reached=reached)


def burning(mesh: Mesh, service: str | None, url: str | None, form: Format) -> Exit:
    """Show how fast budgets are spent."""
    keys = [key for key in objectives(mesh) if service in {None, key[0]}]
    if not keys and service is not None:
        known = ", ".join(dict.fromkeys(name for name, _ in objectives(mesh))) or "no service has an slo"
        raise fail(Exit.USAGE, f"{service} promises nothing that anybody could measure (known here: {known})")
    there = url or (mesh.prometheus.url if mesh.prometheus is not None else None)
    if there is None:
        raise fail(Exit.USAGE, "no Prometheus is named: give --prometheus-url URL, or prometheus.url in mesh.yaml")
    series = (BUDGET_LEFT, *(f"{BURN}{w}" for w in WINDOWS), *(f"{BAD}{pace.long}" for pace in PACES))
    measured, reached = _measured(mesh, there, series)
    found = [_objective(mesh, key, measured, WINDOWS) for key in keys]
    _show(mesh, found, WINDOWS, form)
    return _exit(found, reached=reached)


def _measured(mesh: Mesh, url: str | None, series: Sequence[str]) -> tuple[Measured, bool]:
    """Return what a Prometheus has recorded, and whether it answers (or is none)."""
    if url is None:
        return Measured(), True
    try:
        return asyncio.run(_ask(Prometheus(url), mesh.mesh, series)), True
    except PrometheusError as error:
        chatter(str(error))
        return Measured(), False


async def _ask(prometheus: Prometheus, mesh: str, series: Sequence[str]) -> Measured:
    answers = await asyncio.gather(*(prometheus.query(selector(name, mesh)) for name in series))
    return Measured(
        {
            name: {(s.labels.get(SERVICE, ""), s.labels.get(OBJECTIVE, "")): s.samples[0][1] for s in answer}
            for name, answer in zip(series, answers, strict=True)
        }
    )


def _objective(mesh: Mesh, key: Key, measured: Measured, windows: Sequence[str]) -> Objective:
    left, hour = measured.get(BUDGET_LEFT, key), measured.get(f"{BURN}1h", key)
    lasts = PERIOD * max(0.0, left) / hour if left is not None and hour else None
    return Objective(
        service=key[0],
        objective=key[1],
        promise=_promise(mesh, key),
        budget_left=left,
        burn={window: measured.get(f"{BURN}{window}", key) for window in windows},
        severity=_severity(measured, key),
        exhausted_in_seconds=lasts,
    )


def _promise(mesh: Mesh, key: Key) -> str:
    service, objective = key
    slo = mesh.services[service].slo
    if slo is None:
        raise AssertionError("an objective comes from an slo")
    if objective == "latency" and slo.latency is not None:
        return f"{slo.latency.objective:g} % within {format_duration(slo.latency.threshold)}"
    return f"{slo.availability:g} %"


def _severity(measured: Measured, key: Key) -> str | None:
    """Return how urgent the alerts find it, which look at two windows each and at ten bad requests at least."""
    for pace in PACES:
        long, short = (measured.get(f"{BURN}{window}", key) for window in (pace.long, pace.short))
        bad = measured.get(f"{BAD}{pace.long}", key)
        if long is None or short is None or bad is None:
            continue
        if min(long, short) > pace.factor and bad * seconds(pace.long) >= FEWEST:
            return pace.severity
    return None


def _exit(found: Sequence[Objective], *, reached: bool) -> Exit:
    if not reached:
        return Exit.UNREACHABLE
    spent = any(o.budget_left is not None and o.budget_left < 0 for o in found)
    return Exit.FINDINGS if spent or any(o.severity == "page" for o in found) else Exit.OK


def _show(mesh: Mesh, found: Sequence[Objective], windows: Sequence[str], form: Format) -> None:
    if form is not Format.TABLE:
        write(Objectives(mesh=mesh.mesh, objectives=tuple(found)), form)
        return
    if not found:
        chatter("no service that somebody calls has an slo")
        return
    table = Table(box=None, header_style="dim")
    for column in ("service", "objective", "promise", "budget left", *windows, *(["lasts", ""] if windows else [])):
        table.add_column(column)
    for one in found:
        burns = (_number(one.burn[window]) for window in windows)
        more = (_lasts(one), Text(one.severity or "", "red")) if windows else ()
        table.add_row(one.service, one.objective, one.promise, _left(one.budget_left), *burns, *more)
    console().print(table)


def _left(share: float | None) -> Text:
    if share is None:
        return Text("-")
    return Text(f"{share:.1%}", "red" if share < 0 else "yellow" if share < 0.2 else "green")


def _number(burn: float | None) -> Text:
    if burn is None:
        return Text("-")
    return Text(f"{burn:.2g}" if burn < 100 else f"{burn:.0f}", "red" if burn > 6 else "yellow" if burn > 1 else "")


def _lasts(one: Objective) -> str:
    """Return how long the budget lasts at the pace of the last hour; `-` where nothing is spent, or not known."""
    if one.exhausted_in_seconds is None:
        return "-"
    hours = one.exhausted_in_seconds / 3600
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.1f} h"
