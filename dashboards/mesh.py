"""The dashboard that one opens first: every service of the mesh in a row, the worst on top."""

from dashboards.panels import Panel, Query, Row, Step
from dashboards.parts import label, lines, or_none, row_to_service, stat
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.configuration import XDS
from telemetry.rules.conventions import (
    BUDGET_LEFT,
    CERTIFICATE,
    CONTROL_STREAMS,
    DESTINATION,
    EDGE_ERRORS,
    EDGE_REQUESTS,
    ERROR_RATIO,
    EXPIRY,
    HEALTHY,
    INSTANCE_SYNCED,
    LATENCY,
    REQUESTS,
    SERVICE,
    SOURCE,
    selector,
)
from telemetry.rules.edges import any_calls
from telemetry.rules.objectives import objectives


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    called = any_calls(mesh)
    return (
        Row("Is it well?", status(mesh, called=called)),
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
            (Step(None, "green"), Step(1, "red")),
        ),
    )
    return (
        *(felt if called else ()),
        stat(
            "Without an instance",
            "Services that have no healthy instance: every call of them fails. legation status says why.",
            "short",
            f"count({selector(HEALTHY, name)} == 0) or 0 * group({selector(HEALTHY, name)})",
            (Step(None, "green"), Step(1, "red")),
        ),
        stat(
            "Control plane",
            "Share of all proxies that are connected to xds_server. The others serve on, and miss changes.",
            "percentunit",
            f"avg({selector(CONTROL_STREAMS, name, XDS)} > bool 0)",
            (Step(None, "red"), Step(1, "green")),
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
        ),
    )


def services(mesh: Mesh) -> Panel:
    """Return the table of all services, sorted by what fails."""
    name = mesh.mesh
    columns = [
        ("requests/s", f"sum by ({SERVICE}) ({selector(REQUESTS, name)})"),
        ("failed", f"sort_desc(sum by ({SERVICE}) ({selector(ERROR_RATIO, name)}))"),
        *((f"{q} s", f"sum by ({SERVICE}) ({selector(series, name)})") for q, series in LATENCY.items()),
        ("instances", f"sum by ({SERVICE}) ({selector(HEALTHY, name)})"),
    ]
    if objectives(mesh):
        columns.append(("budget left", f"min by ({SERVICE}) ({selector(BUDGET_LEFT, name)})"))
    return Panel(
        "Services",
        "One row a service, as its callers see it: a share of failures of 0.01 is 1 %. Budget left is of 30 days, of "
        "the objective that has the least. Start with the first row, and with what it calls: a click leads there.",
        "short",
        tuple(Query(expr, column) for column, expr in columns),
        kind="table",
        width=24,
        height=10,
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
            (or_none(f"sum by ({by}) ({errors}) > 0", SOURCE, name), legend),
        ),
        lines(
            "p99 latency by service",
            "One request in a hundred takes longer for its caller. A service is at least as slow as what it waits for.",
            "s",
            (f"sum by ({SERVICE}) ({selector(LATENCY['p99'], name)})", label(SERVICE)),
        ),
    )
