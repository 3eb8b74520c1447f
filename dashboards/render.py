"""A mesh to Grafana dashboards: JSON files by relative path, in the schema of Grafana 10 and later."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dashboards import service
from dashboards.panels import dashboard, variables
from legation.mesh.model.mesh import Mesh
from telemetry.inventory import services
from telemetry.rules import promql
from telemetry.rules.conventions import SERVICE, SERVICE_INFO, dashboard_uid, selector

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
        f"dashboards/{board['uid']}.json": json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for board in made
    }


def dashboards(mesh: Mesh) -> tuple[dict[str, Any], ...]:
    """Return all dashboards of a mesh as JSON values."""
    query = f"label_values({selector(SERVICE_INFO, mesh.mesh)}, {SERVICE})"
    made = dashboard(
        uid=dashboard_uid(mesh.mesh, SERVICE),
        title=f"{mesh.mesh}: service",
        description=f"One service of mesh {mesh.mesh}: its requests, what it calls, and its proxies.",
        tags=("legation", mesh.mesh),
        rows=service.rows(mesh),
        templating=variables([(SERVICE, "Service", query)]),
    )
    return (_modern(made),)


def queries(mesh: Mesh, rate_interval: str = RATE_INTERVAL) -> list[tuple[str, str]]:
    """Return (panel, query) of every panel for every service, as Grafana would send them.

    Each selector is there by itself too, for any service: what a panel fills with 0 where a
    service calls nobody must match something somewhere.
    """
    found: dict[str, str] = {}
    for where, expr in _expressions(dashboards(mesh)):
        for name, _ in services(mesh):
            found.setdefault(_filled(expr, name, rate_interval), f"{where} of {name}")
        any_service = _filled(expr.replace('="$service"', '=~".+"'), ".+", rate_interval)
        for text in promql.lasting(where, any_service):
            found.setdefault(text, where)
    return [(where, query) for query, where in found.items()]


def _expressions(boards: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (dashboard/panel, expression) as they stand in the JSON."""
    for board in boards:
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{board['uid']}/{panel['title']}", target["expr"]


def _filled(expr: str, name: str, rate_interval: str) -> str:
    return expr.replace("$__rate_interval", rate_interval).replace("$service", name)


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
