"""What each service promises (`slo`), and how fast its error budget is spent: SRE workbook, chapter 5.

Long windows are averages of five-minute rates, errors and requests each by themselves: a mean
of ratios would let a quiet night weigh like a busy noon.
"""

from datetime import timedelta

from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import (
    BAD,
    BUCKETS,
    BUDGET,
    BUDGET_LEFT,
    BURN,
    ERRORS,
    GIVEN_UP,
    KNOWN_SINCE,
    MESH,
    OBJECTIVE,
    REQUESTS,
    SERVICE,
    TOTAL,
    selector,
)
from telemetry.rules.edges import called_services
from telemetry.rules.rule import Group, Recording

SHORT_WINDOWS = ("30m", "1h", "2h", "6h")
LONG_WINDOWS = ("1d", "3d")
"""Windows beside the five minutes that everything is counted by; the long ones are evaluated once a minute."""

_PAIR = (BAD, TOTAL)
_SAME = f"on ({MESH}, {SERVICE})"
EACH_OBJECTIVE = f"{MESH}, {SERVICE}, {OBJECTIVE}"


def objective_groups(mesh: Mesh) -> tuple[Group, ...]:
    """Return the groups of recorded series of all objectives; none where no service that is called has one."""
    budgets = tuple(_budgets(mesh))
    if not budgets:
        return ()
    name = mesh.mesh
    counted = (Recording(f"{BAD}5m", _each(_bad(mesh))), Recording(f"{TOTAL}5m", _each(_total(mesh))), _since(name))
    short = [_average(f"{series}{window}", series, window, mesh) for window in SHORT_WINDOWS for series in _PAIR]
    long = [_average(f"{series}{window}", series, window, mesh) for window in LONG_WINDOWS for series in _PAIR]
    return (
        Group(f"{name}-objectives", (*budgets, *counted, *short, *(_burn(w, mesh) for w in ("5m", *SHORT_WINDOWS)))),
        Group(
            f"{name}-burn",
            (*long, *(_burn(window, mesh) for window in LONG_WINDOWS), budget_left(mesh)),
            timedelta(minutes=1),
        ),
    )


def objectives(mesh: Mesh) -> dict[tuple[str, str], float]:
    """Return the share of requests that may be bad, by service and objective, for services that somebody calls."""
    found: dict[tuple[str, str], float] = {}
    for name in called_services(mesh):
        service = mesh.services[name]
        if service.slo is None:
            continue
        if service.slo.availability is not None:
            found[name, "availability"] = _share(service.slo.availability)
        if service.slo.latency is not None:
            found[name, "latency"] = _share(service.slo.latency.objective)
    return found


def budget_left(mesh: Mesh) -> Recording:
    """Return the share of 30 days' budget that is left; below 0 it is overspent.

    From averages of a day, evaluated once a minute: a quarter of the samples of the rates themselves.
    """
    bad, total = (f"avg_over_time({selector(f'{series}1d', mesh.mesh)}[30d])" for series in _PAIR)
    return Recording(BUDGET_LEFT, f"1 - ({bad} / ({total} > 0) or 0 * {total}) / {selector(BUDGET, mesh.mesh)}")


def _share(per_cent: float) -> float:
    return round(1 - per_cent / 100, 10)


def _budgets(mesh: Mesh) -> list[Recording]:
    return [
        Recording(BUDGET, f"vector({share:g})", ((MESH, mesh.mesh), (SERVICE, service), (OBJECTIVE, objective)))
        for (service, objective), share in objectives(mesh).items()
    ]


def _each(parts: list[str]) -> str:
    return f"sum by ({EACH_OBJECTIVE}) ({' or '.join(parts)})"


def _bad(mesh: Mesh) -> list[str]:
    """Return what spends the budgets: failed requests, and those that took too long."""
    failed = _named(ERRORS, "availability", mesh)
    return [*failed, *(_labelled(_slow(limit, services, mesh), "latency") for limit, services in _thresholds(mesh))]


def _total(mesh: Mesh) -> list[str]:
    latency = (_labelled(_timed(services, mesh), "latency") for _, services in _thresholds(mesh))
    return [*_named(REQUESTS, "availability", mesh), *latency]


def _named(series: str, objective: str, mesh: Mesh) -> list[str]:
    """Return a series of all services that have an objective, with its name."""
    services = [service for service, kind in objectives(mesh) if kind == objective]
    if not services:
        return []
    return [_labelled(selector(series, mesh.mesh, f'{SERVICE}=~"{"|".join(services)}"'), objective)]


def _thresholds(mesh: Mesh) -> list[tuple[timedelta, str]]:
    """Return each latency threshold with the services, as a pattern, that have it."""
    found: dict[timedelta, list[str]] = {}
    for service, objective in objectives(mesh):
        slo = mesh.services[service].slo
        if objective == "latency" and slo is not None and slo.latency is not None:
            found.setdefault(slo.latency.threshold, []).append(service)
    return [(limit, "|".join(services)) for limit, services in sorted(found.items())]


def _slow(limit: timedelta, services: str, mesh: Mesh) -> str:
    """Return the requests that were not answered in time; Prometheus 3 writes `le` as a float (250.0)."""
    le = f"{limit / timedelta(milliseconds=1):g}"
    within = selector(BUCKETS, mesh.mesh, f'{SERVICE}=~"{services}"', f'le=~"{le}([.]0)?"')
    return _with_given_up(f"clamp_min({_answered(services, mesh)} - {_SAME} {within}, 0)", services, mesh)


def _timed(services: str, mesh: Mesh) -> str:
    """Return all requests that have a time: by the histogram itself, whose first values `rate` does not see either."""
    return _with_given_up(_answered(services, mesh), services, mesh)


def _answered(services: str, mesh: Mesh) -> str:
    everything = selector(BUCKETS, mesh.mesh, f'{SERVICE}=~"{services}"', 'le="+Inf"')
    return f"sum by ({MESH}, {SERVICE}) ({everything})"


def _with_given_up(timed: str, services: str, mesh: Mesh) -> str:
    """Add the requests that were given up: they are as slow as can be, and in no histogram."""
    given_up = selector(GIVEN_UP, mesh.mesh, f'{SERVICE}=~"{services}"')
    return f"({timed} + {_SAME} {given_up} or {given_up})"


def _labelled(expr: str, objective: str) -> str:
    return f'label_replace({expr}, "{OBJECTIVE}", "{objective}", "", "")'


def _since(mesh: str) -> Recording:
    """Return since when something is known; after an hour without data that begins anew."""
    before = f"last_over_time({selector(KNOWN_SINCE, mesh)}[1h])"
    return Recording(KNOWN_SINCE, f"{before} or time() + 0 * {selector(f'{TOTAL}5m', mesh)}")


def _average(record: str, series: str, window: str, mesh: Mesh) -> Recording:
    return Recording(record, f"avg_over_time({selector(f'{series}5m', mesh.mesh)}[{window}])")


def _burn(window: str, mesh: Mesh) -> Recording:
    """Return how many times faster than allowed the budget is spent; 0 without traffic."""
    bad, total = (selector(f"{series}{window}", mesh.mesh) for series in (BAD, TOTAL))
    share = f"({bad} / ({total} > 0) or 0 * {total})"
    return Recording(f"{BURN}{window}", f"{share} / {selector(BUDGET, mesh.mesh)}")


def seconds(window: str) -> int:
    """Return the length of a window."""
    return int(window[:-1]) * {"m": 60, "h": 3600, "d": 86400}[window[-1]]
