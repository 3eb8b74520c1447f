"""The dashboard of what services promise: how much of each error budget is left, and how fast it is spent."""

from dashboards.panels import Panel, Query, Row
from dashboards.parts import BUDGETS, BURNS, CHOSEN, label, lines, row_to_service, stat
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import BAD, BUDGET, BUDGET_LEFT, BURN, OBJECTIVE, SERVICE, TOTAL, selector
from telemetry.rules.objectives import objectives


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows; none where no service has an objective."""
    if not objectives(mesh):
        return ()
    name = mesh.mesh
    return (Row("All objectives", (table(name),)), Row("The chosen service", chosen(name)))


def table(mesh: str) -> Panel:
    """Return one row an objective."""
    by = f"{SERVICE}, {OBJECTIVE}"
    columns = (
        Query(f"sort(sum by ({by}) ({selector(BUDGET_LEFT, mesh)}))", "budget left", "percentunit", BUDGETS),
        Query(f"sum by ({by}) ({selector(BUDGET, mesh)})", "may be bad", "percentunit"),
        *(
            Query(f"sum by ({by}) ({selector(BURN + window, mesh)})", f"burn {window}", None, BURNS)
            for window in ("5m", "1h", "6h", "3d")
        ),
    )
    return Panel(
        "Objectives",
        "Budget left is of 30 days; below 0 it is overspent. A burn of 1 spends it in exactly 30 days; "
        "above 14.4 in an hour, or 6 in six, somebody is paged. Start with the least that is left.",
        "short",
        columns,
        kind="table",
        width=24,
        height=8,
        links=(row_to_service(mesh),),
    )


def chosen(mesh: str) -> tuple[Panel, ...]:
    """Return one service's budget over time; zero series where it promises nothing."""
    burns = tuple(
        (f"max by ({OBJECTIVE}) ({selector(BURN + window, mesh, CHOSEN)})", f"{label(OBJECTIVE)} {window}")
        for window in ("5m", "1h", "6h")
    )
    bad, all_requests = selector(f"{BAD}5m", mesh, CHOSEN), selector(f"{TOTAL}5m", mesh, CHOSEN)
    rate = f"sum by ({OBJECTIVE}) ({selector(f'{BAD}5m', mesh, CHOSEN)})"
    return (
        stat(
            "Budget left",
            "Share of 30 days' bad requests that may still happen, of the objective with the least. Red: overspent.",
            "percentunit",
            f"min({selector(BUDGET_LEFT, mesh, CHOSEN)})",
            BUDGETS,
            height=8,
        ),
        stat(
            "Burn, last hour",
            "How many times faster than allowed the budget is spent. At 14.4, 2 % of it is gone in an hour.",
            "short",
            f"max({selector(BURN + '1h', mesh, CHOSEN)})",
            BURNS,
            height=8,
        ),
        lines("Burn rate", "Over three windows: an alert needs the long and the short one. 1 is the allowed pace.",
              "short", *burns),
        lines("Share that is bad, and what is allowed", "Share of the last five minutes' requests that failed, or took "
              "longer than the threshold, and what the `slo` allows over 30 days.", "percentunit",
              (f"sum by ({OBJECTIVE}) ({bad} / ({all_requests} > 0) or 0 * {all_requests})", label(OBJECTIVE)),
              (f"max by ({OBJECTIVE}) ({selector(BUDGET, mesh, CHOSEN)})", f"{label(OBJECTIVE)} allowed")),
        lines("Bad requests", "Requests a second that spend the budget: failed, or slower than the threshold.", "reqps",
              (rate, label(OBJECTIVE)),
              (f"max({selector(f'{TOTAL}5m', mesh, CHOSEN)})", "all requests")),
        Panel("Budget left over time", "Share of 30 days' budget. It falls with each bad request, and is back when the "
              "bad day leaves the 30. Below 0 it is overspent.", "percentunit",
              (Query(f"sum by ({OBJECTIVE}) ({selector(BUDGET_LEFT, mesh, CHOSEN)})", label(OBJECTIVE)),), lowest=None),
    )  # fmt: skip
