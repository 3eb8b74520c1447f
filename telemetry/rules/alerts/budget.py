"""Error budgets that are spent too fast: one alert for each pair of windows (SRE workbook, chapter 5, table 5-8)."""

from dataclasses import dataclass
from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels, called, requests
from telemetry.rules.conventions import (
    BAD,
    BURN,
    INSTANCE,
    KNOWN_SINCE,
    MESH,
    OBJECTIVE,
    PREFIX,
    SERVICE,
    TOTAL,
    selector,
)
from telemetry.rules.objectives import objectives, seconds
from telemetry.rules.rule import Alert, Severity, Term
from telemetry.rules.story import Case, Firing, Moment, Series, silent

FEWEST = 10
"""Bad requests in the long window below which a share says nothing: at 99.9 %, one error an hour would page."""

_STEPS = 24
"""Steps of a story in the long window, two of them in the short one: all pairs are as 12 to 1."""

_HALF = {"1d": "12h", "3d": "36h"}
"""How old what is measured must be for a ticket: its window's half."""


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
    return Alert(
        name=f"MeshErrorBudgetBurn{pace.long}",
        terms=_terms(mesh.mesh, pace),
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


def _terms(name: str, pace: Pace) -> tuple[Term, ...]:
    """Return what must hold; beside the workbook's two windows, what keeps an alert true.

    The average over a window of which there is an hour only is that hour's: a ticket waits for half of its
    window. The slower page is over with the quicker one, as what is well wakes nobody: the workbook's 30 minutes
    remember an outage for up to 18 minutes at the quicker one's pace, and longer the worse it was. Nor is it a second
    one about what the quicker one was for.
    """
    burns = [Term(selector(f"{BURN}{window}", name), f"> {pace.factor:g}") for window in (pace.long, pace.short)]
    if pace.severity == "ticket":
        bad = Term(f"{selector(f'{BAD}{pace.long}', name)} * {seconds(pace.long)}", f">= {FEWEST}")
        half = _HALF[pace.long]
        seen = f"present_over_time({selector(f'{TOTAL}1d', name)}[{half}] offset {half})"
        return (*burns, bad, Term(seen, "> 0", late=True))
    bad = Term(_known_bad(name, pace), f">= {FEWEST}")
    return (*burns, bad, *([] if pace is PACES[0] else [_still(name), _no_quicker_page(name)]))


def _known_bad(name: str, pace: Pace) -> str:
    """Return how many bad requests are known in the long window, or, where those are more, in the last five minutes.

    The average is over what there is: on a young Prometheus that of minutes would be taken for an hour's. The last
    minutes alone, as an average of them that has just begun knows half of an outage.
    """
    shortest = seconds(PACES[0].short)
    age = f"clamp_max(clamp_min(time() - {selector(KNOWN_SINCE, name)}, {shortest}), {seconds(pace.long)})"
    long = f"{selector(f'{BAD}{pace.long}', name)} * {age}"
    last = f"{selector(f'{BAD}{PACES[0].short}', name)} * {shortest}"
    return f"{long} > {last} or {last}"


def _still(name: str) -> Term:
    """Return that the budget is being spent faster than it may, now: at 1, so that a rate that wobbles ends nothing."""
    return Term(selector(f"{BURN}{PACES[0].short}", name), "> 1")


def _no_quicker_page(name: str) -> Term:
    """Return that the last hour alone is none that the quickest alert is about: too slow for it, or too few.

    Nor was it five minutes ago, which is how long `_still` takes to see an end.
    """
    burn, bad = (f"max_over_time({selector(f'{series}{PACES[0].long}', name)}[5m])" for series in (BURN, BAD))
    quick = f"({burn} > bool {PACES[0].factor:g})"
    return Term(f"{quick} * ({bad} * {seconds(PACES[0].long)} >= bool {FEWEST})", "== 0")


def _cases(mesh: Mesh, pace: Pace) -> tuple[Case, ...]:
    (service, objective), budget = next(iter(objectives(mesh).items()))
    labels = {MESH: mesh.mesh, SERVICE: service, OBJECTIVE: objective}
    step = timedelta(seconds=seconds(pace.short) / 2)

    def at(number: int, *firing: Firing) -> Moment:
        return Moment(step * number, firing)

    def story(name: str, total: float, burns: list[tuple[float, int]], *moments: Moment) -> Case:
        spent = " ".join(f"{total * budget * times:.12g}x{steps - 1}" for times, steps in burns)
        whole = f"{total:.12g}x{sum(steps for _, steps in burns)}"
        return Case(name, [Series(f"{BAD}5m", labels, spent), Series(f"{TOTAL}5m", labels, whole)], moments, step)

    fast, young = 2 * pace.factor, 4 / seconds(PACES[0].short)
    more: list[Case] = []
    if pace.long == "1h":
        more = [
            _retried(mesh, service),
            story(
                "a young Prometheus: four bad requests, and no good one",
                young,
                [(1 / budget, 3), (0, _STEPS)],
                *(at(number) for number in range(_STEPS)),
            ),
            story(
                "a young Prometheus: an outage, which is mended",
                100,
                [(fast, 4), (0, _STEPS)],
                at(0, Firing(labels, f"{fast:g}")),
                at(3, Firing(labels, f"{fast:g}")),
                at(7),
            ),
        ]
    elif pace.severity == "page":
        over = [at(_STEPS + number) for number in range(8)]
        rare = FEWEST / 2 / seconds(PACES[0].long) / (budget * 100)
        more = [
            story("an hour that the quicker page is about", 100, [(0, _STEPS), (100, 4), (0, 4)], *over),
            story(
                "an outage at the quicker page's pace has ended",
                100,
                [(0, _STEPS), (15, _STEPS), (0, 8)],
                *over[:1],
                *(at(2 * _STEPS + number) for number in range(8)),
            ),
            story(
                "hours, and then only a little too fast",
                100,
                [(0, _STEPS), (fast, _STEPS + 1), (2, _STEPS)],
                at(2 * _STEPS, Firing(labels, f"{fast:g}")),
                at(2 * _STEPS + 4),
            ),
            story("too few for the quicker page", rare, [(100, _STEPS + 1)], at(_STEPS, Firing(labels, "100"))),
        ]
    else:
        moments = at(_STEPS // 3), at(_STEPS, Firing(labels, f"{fast:g}"))
        more = [story("a young Prometheus", 100, [(fast, _STEPS + 1)], *moments)]
    few = FEWEST / 2 / seconds(pace.long) / (budget * fast)
    return (
        story(
            f"burns at {fast:g} for {pace.long}, and is mended",
            100,
            [(0, _STEPS), (fast, _STEPS + 1), (0, _STEPS)],
            at(_STEPS),
            at(_STEPS + 4),
            at(2 * _STEPS, Firing(labels, f"{fast:g}")),
            *([at(2 * _STEPS + 1)] if pace.severity == "page" else []),
            at(2 * _STEPS + 4),
        ),
        story("burns a little less fast", 100, [(0.9 * pace.factor, 2 * _STEPS)], at(_STEPS), at(2 * _STEPS - 1)),
        story("little traffic: a few bad requests", few, [(fast, 2 * _STEPS)], at(_STEPS), at(2 * _STEPS - 1)),
        Case("no data", [], [at(_STEPS)], step),
        *more,
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
