"""Error budgets that are spent too fast: one alert for each pair of windows (SRE workbook, chapter 5, table 5-8)."""

from dataclasses import dataclass
from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels, called, requests
from telemetry.rules.conventions import BAD, BURN, INSTANCE, MESH, OBJECTIVE, PREFIX, SERVICE, TOTAL, selector
from telemetry.rules.objectives import objectives, seconds
from telemetry.rules.rule import Alert, Severity, Term
from telemetry.rules.story import Case, Firing, Moment, Series, silent

FEWEST = 10
"""Bad requests in the long window below which a share says nothing: at 99.9 %, one error an hour would page."""

_STEPS = 60
"""Steps of a story in the long window, five of them in the short one: all pairs are as 12 to 1."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a budget may be spent: `factor` times as fast as it lasts 30 days, over two windows."""

    long: str
    short: str
    factor: float
    share: str
    severity: Severity


PACES = (
    Pace("1h", "5m", 14.4, "2 %", "page"),
    Pace("6h", "30m", 6, "5 %", "page"),
    Pace("1d", "2h", 3, "10 %", "ticket"),
    Pace("3d", "6h", 1, "10 %", "ticket"),
)


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group; none without an objective."""
    return tuple(burn(mesh, pace) for pace in PACES) if objectives(mesh) else ()


def burn(mesh: Mesh, pace: Pace) -> Alert:
    """Return the alert on a budget that is spent this fast, in the long window, and still in the short one."""
    name = mesh.mesh
    bad = f"{selector(f'{BAD}{pace.long}', name)} * {seconds(pace.long)}"
    return Alert(
        name=f"MeshErrorBudgetBurn{pace.long}",
        terms=(
            Term(selector(f"{BURN}{pace.long}", name), f"> {pace.factor:g}"),
            Term(selector(f"{BURN}{pace.short}", name), f"> {pace.factor:g}"),
            Term(bad, f">= {FEWEST}"),
        ),
        on=(MESH, SERVICE, OBJECTIVE),
        severity=pace.severity,
        summary="{{ $labels.service }} spends its {{ $labels.slo }} budget {{ $value | humanize }} times too fast",
        description=f"Callers of {{{{ $labels.service }}}} got {pace.share} of 30 days' bad requests within "
        f"{pace.long}, and still do. Retries are counted by what came of them, and a request given up is bad.",
        runbook="Open the dashboard: *Who gets failures* says which callers, *What it calls* whether a dependency "
        "is the cause; begin there. Compare versions and instances: one that stands out is to be withdrawn, or its "
        "release taken back by the route's `split`. *latency*: look for what is slow below it, for one slow "
        "instance, and for requests that queue.",
        dashboard="slo",
        cases=_cases(mesh, pace),
    )


def _cases(mesh: Mesh, pace: Pace) -> tuple[Case, ...]:
    (service, objective), budget = next(iter(objectives(mesh).items()))
    labels = {MESH: mesh.mesh, SERVICE: service, OBJECTIVE: objective}
    step = timedelta(seconds=seconds(pace.short) / 5)

    def at(number: int, *firing: Firing) -> Moment:
        return Moment(step * number, firing)

    def story(name: str, total: float, burns: list[tuple[float, int]], *moments: Moment) -> Case:
        spent = " ".join(f"{total * budget * times:.12g}x{steps - 1}" for times, steps in burns)
        whole = f"{total:.12g}x{sum(steps for _, steps in burns)}"
        return Case(name, [Series(f"{BAD}5m", labels, spent), Series(f"{TOTAL}5m", labels, whole)], moments, step)

    fast = 2 * pace.factor
    few = FEWEST / 2 / seconds(pace.long) / (budget * fast)
    return (
        story(
            f"burns at {fast:g} for {pace.long}, and is mended",
            100,
            [(0, _STEPS), (fast, _STEPS + 1), (0, _STEPS)],
            at(_STEPS),
            at(_STEPS + 10),
            at(2 * _STEPS, Firing(labels, f"{fast:g}")),
            at(2 * _STEPS + 10),
        ),
        story("burns a little less fast", 100, [(0.9 * pace.factor, 2 * _STEPS)], at(_STEPS), at(2 * _STEPS - 1)),
        story("little traffic: a few bad requests", few, [(fast, 2 * _STEPS)], at(_STEPS), at(2 * _STEPS - 1)),
        Case("no data", [], [at(_STEPS)], step),
        *([_retried(mesh, service)] if pace.long == "1h" else []),
    )


def _retried(mesh: Mesh, service: str) -> Case:
    """Return the story of a sick instance that nobody feels."""
    caller = called(mesh, service)
    own: Labels = {MESH: mesh.mesh, SERVICE: service, INSTANCE: "sick", PREFIX: names.INBOUND}
    return Case(
        "half of all attempts fail, and each is answered when tried again",
        [
            requests(caller, "2", "0+600x90"),
            requests(caller, "5", "0x90"),
            requests(own, "2", "0+600x90"),
            requests(own, "5", "0+600x90"),
        ],
        silent(20, 60, 90),
    )
