"""A mesh to Grafana dashboards: JSON files by relative path, in the schema of Grafana 10 and later."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dashboards.boards import Board, boards
from dashboards.modern import modern
from dashboards.panels import Event, dashboard, variables
from legation.mesh.model.mesh import Mesh
from telemetry.inventory import services
from telemetry.rules import promql
from telemetry.rules.conventions import ALERT, ALERTS, CHANGE, FIRING, SERVICE, dashboard_uid, selector

RATE_INTERVAL = "1m"
"""What Grafana puts for `$__rate_interval` at a scrape interval of 15 s: four scrapes."""


def render_grafana(mesh: Mesh) -> Mapping[str, str]:
    """Return `dashboards/<uid>.json` for each dashboard; InvalidQuery when one of its queries does not parse."""
    made = dashboards(mesh)
    for where, expr in (*_expressions(made), *_choices(made)):
        promql.parse(where, _filled(expr, "x", RATE_INTERVAL))
    return {
        f"provisioning/dashboards/{mesh.mesh}.yaml": _provider(mesh),
        "provisioning/datasources/prometheus.yaml": _DATASOURCE,
    } | {
        f"dashboards/{board['uid']}.json": json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for board in made
    }


_DATASOURCE = """# Grafana: https://grafana.com/docs/grafana/latest/administration/provisioning/
apiVersion: 1
datasources:
  - {name: Prometheus, uid: prometheus, type: prometheus, access: proxy, url: "$PROMETHEUS_URL", isDefault: true}
"""


def _provider(mesh: Mesh) -> str:
    """Return Grafana's provisioning file: it takes the dashboards from the folder that a variable names."""
    return f"""# Set DASHBOARDS to where the dashboards/ beside this is mounted, and PROMETHEUS_URL for the data source.
apiVersion: 1
providers:
  - {{name: "legation-{mesh.mesh}", folder: Legation, type: file, options: {{path: "$DASHBOARDS"}}}}
"""


def dashboards(mesh: Mesh) -> tuple[dict[str, Any], ...]:
    """Return all dashboards of a mesh as JSON values, each linked to all others."""
    shown = boards(mesh)
    linked = [(board.title, dashboard_uid(mesh.mesh, board.name)) for board in shown]
    return tuple(modern(_dashboard(mesh, board, linked)) for board in shown)


def _dashboard(mesh: Mesh, board: Board, linked: Sequence[tuple[str, str]]) -> Any:
    uid = dashboard_uid(mesh.mesh, board.name)
    return dashboard(
        uid=uid,
        title=f"{mesh.mesh}: {board.title}",
        description=board.description,
        tags=("legation", mesh.mesh),
        rows=board.rows(mesh),
        templating=variables(board.queried(mesh.mesh)),
        others=[(title, other) for title, other in linked if other != uid],
        events=events(mesh.mesh),
    )


def events(mesh: str) -> tuple[Event, ...]:
    """Return what is marked on every dashboard: what fired, and what was changed."""
    fires = f"max by ({ALERT}, severity, {SERVICE}) ({selector(ALERTS, mesh, FIRING)})"
    changed = f"max by (what, by, {SERVICE}) ({selector(CHANGE, mesh)}) > time() - 30"
    return (
        Event("alert", fires, (ALERT, "severity", SERVICE), "red"),
        Event("change", changed, ("what", "by", SERVICE), "blue"),
    )


def queries(mesh: Mesh, rate_interval: str = RATE_INTERVAL) -> list[tuple[str, str]]:
    """Return (panel, query) of every panel as Grafana would send them; for every service, where a board is for each.

    Of variables, what they choose from; of what is marked, what is measured for it.

    Each selector is there by itself too, for any service: what a panel fills with 0 where a
    service calls nobody must match something somewhere.
    """
    all_boards = dashboards(mesh)
    each = {dashboard_uid(mesh.mesh, board.name) for board in boards(mesh) if board.each}
    found: dict[str, str] = {}
    for where, expr in _choices(all_boards):
        for text in promql.lasting(where, expr):
            found.setdefault(text, where)
    for where, expr in _expressions(all_boards):
        anything = _filled(_CHOICE.sub('=~".+"', expr), ".+", rate_interval)
        if where.partition("/")[0] in each:
            for name, _ in services(mesh):
                found.setdefault(_filled(expr, name, rate_interval), f"{where} of {name}")
        else:
            found.setdefault(anything, where)
        for text in promql.lasting(where, anything):
            found.setdefault(text, where)
    return [(where, query) for query, where in found.items()]


def _expressions(boards: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (dashboard/panel, expression) as they stand in the JSON."""
    for board in boards:
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{board['uid']}/{panel['title']}", target["expr"]


def _choices(boards: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (dashboard/name, expression) of variables and of what is marked, for whatever has been chosen before."""
    for board in boards:
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = (
                    variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
                )
                anything = _filled(_CHOICE.sub('=~".+"', metric), ".+", RATE_INTERVAL)
                yield f"{board['uid']}/${variable['name']}", f"group by ({label}) ({anything})"
        for event in board["annotations"]["list"]:
            yield f"{board['uid']}/{event['name']}", event["target"]["expr"]


_VARIABLES = ("service", "instance", "source", "destination")
_CHOICE = re.compile(rf'="\$({"|".join(_VARIABLES)})"')
"""A label that is compared with what one has chosen."""


def _filled(expr: str, name: str, rate_interval: str) -> str:
    """Return an expression with a value for each variable, as Grafana puts them."""
    filled = expr.replace("$__rate_interval", rate_interval)
    for variable in _VARIABLES:
        filled = filled.replace(f"${variable}", name)
    return filled
