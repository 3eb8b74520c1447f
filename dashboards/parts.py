"""What the dashboards' files share: how they ask for the chosen service, and panels of one kind."""

from dashboards.panels import Link, Panel, Query, Step, Unit
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.availability import MOST_ERRORS
from telemetry.rules.alerts.budget import PACES
from telemetry.rules.alerts.certificates import PAGE_LIFE, TICKET_LIFE
from telemetry.rules.conventions import (
    DESTINATION,
    INSTANCE,
    PREFIX,
    SERVICE,
    SERVICE_INFO,
    SOURCE,
    dashboard_uid,
    selector,
)

CHOSEN = f'{SERVICE}="$service"'
CALLED = f'{DESTINATION}="$service"'
CALLS = f'{SOURCE}="$service"'
WINDOW = "[$__rate_interval]"
GOOD, BAD = (Step(None, "red"), Step(1, "green")), (Step(None, "green"), Step(1, "red"))
"""The colours of what should be there, and of what should not."""

BURNS = (Step(None, "green"), Step(1, "orange"), Step(PACES[0].factor, "red"))
"""Those of a burn rate: 1 is the allowed pace; from the highest on somebody is paged."""

BUDGETS = (Step(None, "red"), Step(0, "orange"), Step(0.2, "green"))
"""Those of what is left of a budget: below 0 it is overspent."""

CALLED_PREFIX = f'{PREFIX}=~"{names.outbound_stat_prefix("$service")}|{names.gateway_stat_prefix("$service")}"'
"""What callers count under: their requests to the chosen service."""


def label(name: str) -> str:
    """Return the legend that shows a label's value."""
    return f"{{{{{name}}}}}"


def stat(
    title: str, description: str, unit: Unit, expr: str, steps: tuple[Step, ...] = (), *, height: int = 4
) -> Panel:
    """Return a tile with one number."""
    return Panel(title, description, unit, (Query(expr, title),), "stat", steps, width=4, height=height)


def lines(title: str, description: str, unit: Unit, *queries: tuple[str, str]) -> Panel:
    """Return a panel of lines over time, of (query, legend)."""
    return Panel(title, description, unit, tuple(Query(expr, legend) for expr, legend in queries))


def or_zero(expr: str, about: str, value: str, mesh: str) -> str:
    """Return a query that gives one series of 0 where there is nothing to count, for a service that exists."""
    listed = f"0 * group({selector(SERVICE_INFO, mesh, CHOSEN)})"
    return f'{expr} or on () label_replace({listed}, "{about}", "{value}", "", "")'


def or_none(expr: str, about: str, mesh: str) -> str:
    """Return a query over the whole mesh that gives one series of 0 where there is nothing to count."""
    return f'{expr} or on () label_replace(0 * group({selector(SERVICE_INFO, mesh)}), "{about}", "none", "", "")'


def to_service(mesh: str, name: str = SERVICE) -> Link:
    """Return the link from a value to the dashboard of the service that a label names."""
    url = f"/d/{dashboard_uid(mesh, SERVICE)}?var-service=${{__field.labels.{name}}}"
    return Link("Its dashboard", f"{url}&var-datasource=${{datasource}}&${{__url_time_range}}")


def row_to_service(mesh: str) -> Link:
    """Return the link from a table's row to the dashboard of its service."""
    url = f"/d/{dashboard_uid(mesh, SERVICE)}?var-service=${{__data.fields.{SERVICE}}}"
    return Link("Its dashboard", f"{url}&var-datasource=${{datasource}}&${{__url_time_range}}")


def to_proxy(mesh: str) -> Link:
    """Return the link from a value to the dashboard of the proxy that it is about."""
    url = f"/d/{dashboard_uid(mesh, 'proxy')}?var-instance=${{__field.labels.{INSTANCE}}}"
    return Link("Its proxy", f"{url}&var-datasource=${{datasource}}&${{__url_time_range}}")


def life_steps(mesh: Mesh) -> tuple[Step, ...]:
    """Return the colours of a certificate's remaining life: those of its alerts."""
    ttl = mesh.certificates.ttl.total_seconds()
    return (Step(None, "red"), Step(ttl / PAGE_LIFE, "orange"), Step(ttl / TICKET_LIFE, "green"))


def failure_steps(mesh: Mesh) -> tuple[Step, ...]:
    """Return the colours of a share of failures: the strictest promise is broken, or somebody is woken."""
    budgets = [1 - s.slo.availability / 100 for s in mesh.services.values() if s.slo is not None and s.slo.availability]
    strictest = round(min(budgets, default=MOST_ERRORS / 5), 10)
    return (Step(None, "green"), Step(strictest, "orange"), Step(MOST_ERRORS, "red"))
