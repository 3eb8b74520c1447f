"""The dashboard that one opens first: every service of the mesh in a row, the worst on top."""

from dashboards.panels import Panel, Query, Row, Step
from dashboards.parts import BAD, BUDGETS, GOOD, failure_steps, label, life_steps, lines, or_none, row_to_service, stat
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.configuration import XDS
from telemetry.rules.conventions import (
    ALERT,
    ALERTS,
    BUDGET_LEFT,
    CERTIFICATE,
    CONTROL_STREAMS,
    DESTINATION,
    EDGE_ERRORS,
    EDGE_REQUESTS,
    ERROR_RATIO,
    EXPIRY,
    FIRING,
    HEALTHY,
    INSTANCE,
    INSTANCE_SYNCED,
    LATENCY,
    REQUESTS,
    SERVICE,
    SINCE,
    SOURCE,
    selector,
)
from telemetry.rules.edges import any_calls
from telemetry.rules.objectives import objectives


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    called = any_calls(mesh)
    return (
        Row("Is it well?", (*status(mesh, called=called), alerts(mesh.mesh))),
        *([Row("Services, the worst first", (services(mesh),)), Row("Who calls whom", edges(mesh))] if called else []),
    )


def status(mesh: Mesh, *, called: bool) -> tuple[Panel, ...]:
    """Return the line that one looks at first."""
    name = mesh.mesh
    own = selector(EXPIRY, name, f'{CERTIFICATE}="{names.MESH_CERT}"')
    failing = f"count({selector(ERROR_RATIO, name)} > 0.01) or 0 * group({selector(ERROR_RATIO, name)})"
    felt = (
        stat(
            "Requests",
            "Requests a second from service to service and from outside, as those who send them count them.",
            "reqps",
            f"sum({selector(EDGE_REQUESTS, name)})",
        ),
        stat(
            "Failing services",
            "Services of which more than one request in a hundred fails for its callers. The table below names them.",
            "short",
            failing,
            BAD,
        ),
    )
    return (
        *(felt if called else ()),
        stat(
            "Without an instance",
            "Services that have no healthy instance: every call of them fails. legation status says why.",
            "short",
            f"count({selector(HEALTHY, name)} == 0) or 0 * group({selector(HEALTHY, name)})",
            BAD,
        ),
        stat(
            "Control plane",
            "Share of all proxies that are connected to xds_server. The others serve on, and miss changes.",
            "percentunit",
            f"avg({selector(CONTROL_STREAMS, name, XDS)} > bool 0)",
            GOOD,
        ),
        stat(
            "Synced",
            "Share of all proxies that have ACKed all that they were sent. Others work from an older state.",
            "percentunit",
            f"avg({selector(INSTANCE_SYNCED, name)})",
            (Step(None, "orange"), Step(1, "green")),
        ),
        stat(
            "First to expire",
            "Time that the shortest-lived certificate of all proxies still has. Below half of its life, renewal fails.",
            "s",
            f"min({own})",
            life_steps(mesh),
        ),
    )


def alerts(mesh: str) -> Panel:
    """Return the table of what fires, and since when; one row that says none where nothing does."""
    of = f"{ALERT}, severity, {SERVICE}, {INSTANCE}, {SOURCE}, {DESTINATION}"
    since = f"max by ({of}) ({selector(SINCE, mesh)})"
    pages, tickets = (
        f"time() - {since} and on ({of}) max by ({of}) ({selector(ALERTS, mesh, FIRING, which)})"
        for which in ('severity="page"', 'severity!="page"')
    )
    return Panel(
        "Alerts that fire",
        "What fires now, and for how long it has been so, by this Prometheus's rules; pages first. "
        "docs/runbooks has a page of its own for each.",
        "short",
        (Query(or_none(f"({pages}) or ({tickets})", ALERT, mesh), "for", "s"),),
        kind="table",
        width=24,
        height=7,
    )


def services(mesh: Mesh) -> Panel:
    """Return the table of all services, sorted by what fails."""
    name, steps = mesh.mesh, failure_steps(mesh)
    own = selector(EXPIRY, name, f'{CERTIFICATE}="{names.MESH_CERT}"')
    columns = [
        Query(f"sort_desc(sum by ({SERVICE}) ({selector(ERROR_RATIO, name)}))", "failed", "percentunit", steps),
        Query(f"sum by ({SERVICE}) ({selector(REQUESTS, name)})", "requests", "reqps"),
        *(Query(f"sum by ({SERVICE}) ({selector(series, name)})", q, "s") for q, series in LATENCY.items()),
        Query(f"sum by ({SERVICE}) ({selector(HEALTHY, name)})", "instances", None, GOOD),
        Query(f"min by ({SERVICE}) ({own})", "certificate", "s", life_steps(mesh)),
    ]
    if objectives(mesh):
        left = f"min by ({SERVICE}) ({selector(BUDGET_LEFT, name)})"
        columns.append(Query(left, "budget left", "percentunit", BUDGETS))
    return Panel(
        "Services",
        "One row a service, as its callers see it. Budget left is of 30 days, of the objective that has the least; "
        "certificate is what the first to expire has left. Start with the first row, and with what it calls: a click "
        "leads there.",
        "short",
        tuple(columns),
        kind="table",
        width=24,
        height=min(14, 3 + len(mesh.services)),
        links=(row_to_service(name),),
    )


def edges(mesh: Mesh) -> tuple[Panel, ...]:
    """Return the calls between services."""
    name = mesh.mesh
    by = f"{SOURCE}, {DESTINATION}"
    requests, errors = selector(EDGE_REQUESTS, name), selector(EDGE_ERRORS, name)
    legend = f"{label(SOURCE)} → {label(DESTINATION)}"
    return (
        lines(
            "Requests by edge",
            "Requests a second from each service to each that it calls; legation-gateway is the world outside.",
            "reqps",
            (f"sum by ({by}) ({requests})", legend),
        ),
        lines(
            "Failures by edge",
            "Requests a second that failed for their caller. The edge that is furthest from the gateway is most often "
            "the cause of the others.",
            "reqps",
            (f"sum by ({by}) ({errors})", legend),
        ),
        lines(
            "p99 latency by service",
            "One request in a hundred takes longer for its caller. A service is at least as slow as what it waits for.",
            "s",
            (f"sum by ({SERVICE}) ({selector(LATENCY['p99'], name)})", label(SERVICE)),
        ),
    )
