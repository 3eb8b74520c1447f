"""A mesh to Grafana dashboards: JSON files by relative path, in the schema of Grafana 10 and later."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dashboards.boards import Board, boards
from dashboards.panels import dashboard, variables
from legation.mesh.model.mesh import Mesh
from telemetry.inventory import services
from telemetry.rules import promql
from telemetry.rules.conventions import dashboard_uid

SCHEMA_VERSION = 39
"""Grafana 10.4's; grafanalib says 12 and writes what only its migrations understand."""

RATE_INTERVAL = "1m"
"""What Grafana puts for `$__rate_interval` at a scrape interval of 15 s: four scrapes."""

_DASHBOARD = (
    "uid", "title", "description", "tags", "editable", "graphTooltip", "time", "refresh", "timezone", "links", "version"
)  # fmt: skip
_PANEL = ("id", "type", "title", "description", "gridPos", "datasource", "fieldConfig", "options")
_ROW = ("id", "type", "title", "collapsed", "gridPos", "panels")
_VARIABLE = ("name", "label", "type", "hide", "multi", "includeAll", "options", "refresh")


def render_grafana(mesh: Mesh) -> Mapping[str, str]:
    """Return `dashboards/<uid>.json` for each dashboard; InvalidQuery when one of its queries does not parse."""
    made = dashboards(mesh)
    for where, expr in _expressions(made):
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
    return tuple(_modern(_dashboard(mesh, board, linked)) for board in shown)


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
    )


def queries(mesh: Mesh, rate_interval: str = RATE_INTERVAL) -> list[tuple[str, str]]:
    """Return (panel, query) of every panel as Grafana would send them; for every service, where a board is for each.

    Each selector is there by itself too, for any service: what a panel fills with 0 where a
    service calls nobody must match something somewhere.
    """
    each = {dashboard_uid(mesh.mesh, board.name) for board in boards(mesh) if board.each}
    found: dict[str, str] = {}
    for where, expr in _expressions(dashboards(mesh)):
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


_VARIABLES = ("service", "instance", "source", "destination")
_CHOICE = re.compile(rf'="\$({"|".join(_VARIABLES)})"')
"""A label that is compared with what one has chosen."""


def _filled(expr: str, name: str, rate_interval: str) -> str:
    """Return an expression with a value for each variable, as Grafana puts them."""
    filled = expr.replace("$__rate_interval", rate_interval)
    for variable in _VARIABLES:
        filled = filled.replace(f"${variable}", name)
    return filled


def _modern(board: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dashboard of grafanalib's without what Grafana has dropped, and with what it asks for since."""
    return {
        **{key: board[key] for key in _DASHBOARD},
        "id": None,
        "schemaVersion": SCHEMA_VERSION,
        "annotations": {"list": []},
        "timepicker": {},
        "templating": {"list": [_variable(variable) for variable in board["templating"]["list"]]},
        "panels": [_panel(panel) for panel in board["panels"]],
    }


def _variable(old: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: old[key] for key in _VARIABLE} | {"current": {}, "regex": "", "skipUrlSync": False}
    if old["type"] == "datasource":
        return {**kept, "query": old["query"]}
    query = {"query": old["query"], "refId": f"variable-{old['name']}"}
    return {**kept, "datasource": old["datasource"], "definition": old["query"], "query": query, "sort": 1}


def _panel(old: Mapping[str, Any]) -> dict[str, Any]:
    if old["type"] == "row":
        return {key: old[key] for key in _ROW}
    panel = {key: old[key] for key in _PANEL} | {"targets": [_target(target) for target in old["targets"]]}
    return _table(panel) if panel["type"] == "table" else panel


def _target(old: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: old[key] for key in ("refId", "expr", "legendFormat", "datasource", "format")}
    return {**kept, "editorMode": "code", "instant": old["instant"], "range": not old["instant"]}


def _table(panel: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table whose queries are joined by their labels into one row each, a column a query."""
    targets = panel["targets"]
    columns = {f"Value #{target['refId']}": target["legendFormat"] for target in targets}
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}
    defaults = {**panel["fieldConfig"]["defaults"], "custom": custom}
    return {
        **panel,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": columns}},
        ],
    }
