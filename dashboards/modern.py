"""A dashboard of grafanalib's in the schema of Grafana today.

grafanalib writes schema version 12, which Grafana brings up to date when it loads it. We do that here, as what
is written is then what is checked: against the types of `@grafana/schema` (tests/dashboards/test_schema.py).
"""

from collections.abc import Mapping
from typing import Any

SCHEMA_VERSION = 42
"""That of `@grafana/schema` 13.2. Nothing in it keeps a Grafana 10 from showing it."""

_DASHBOARD = (
    "uid", "title", "description", "tags", "editable", "graphTooltip", "time", "refresh", "timezone", "links", "version"
)  # fmt: skip
_PANEL = ("id", "type", "title", "description", "gridPos", "datasource", "fieldConfig", "options")
_ROW = ("id", "type", "title", "collapsed", "gridPos", "panels")
_VARIABLE = ("name", "label", "type", "hide", "multi", "includeAll", "options", "refresh")

Json = dict[str, Any]


def modern(board: Mapping[str, Any]) -> Json:
    """Return a dashboard of grafanalib's without what Grafana has dropped, and with what it asks for since."""
    return {
        **{key: board[key] for key in _DASHBOARD},
        "id": None,
        "schemaVersion": SCHEMA_VERSION,
        "annotations": {"list": board["annotations"]["list"]},
        "timepicker": {},
        "templating": {"list": [_variable(variable) for variable in board["templating"]["list"]]},
        "panels": [_panel(panel) for panel in board["panels"]],
    }


def _variable(old: Mapping[str, Any]) -> Json:
    kept = {key: old[key] for key in _VARIABLE} | {"regex": "", "skipUrlSync": False}
    if old["type"] == "datasource":
        return {**kept, "query": old["query"]}
    query = {"query": old["query"], "refId": f"variable-{old['name']}"}
    return {**kept, "datasource": old["datasource"], "query": query, "sort": 1}


def _panel(old: Mapping[str, Any]) -> Json:
    if old["type"] == "row":
        return {key: old[key] for key in _ROW}
    panel = {key: old[key] for key in _PANEL} | {"targets": [_target(target) for target in old["targets"]]}
    panel["fieldConfig"] = _fields(panel["fieldConfig"])
    match panel["type"]:
        case "stat":
            return {**panel, "options": {**panel["options"], **_STAT}}
        case "table":
            return _table(panel)
        case _:
            return {**panel, "options": {**panel["options"], **_LINES}}


_STAT = {"percentChangeColorMode": "standard", "showPercentChange": False, "wideLayout": True}
_LINES = {
    "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def _target(old: Mapping[str, Any]) -> Json:
    kept = {key: old[key] for key in ("refId", "expr", "legendFormat", "datasource", "format")}
    return {**kept, "editorMode": "code", "instant": old["instant"], "range": not old["instant"]}


def _fields(old: Mapping[str, Any]) -> Json:
    """Return how values are shown, without what grafanalib says by `null` or by an empty object."""
    defaults = {key: value for key, value in old["defaults"].items() if value is not None}
    custom = {key: value for key, value in defaults.get("custom", {}).items() if value is not None and value != {}}
    return {"defaults": {**defaults, "custom": custom}, "overrides": old.get("overrides", [])}


def _table(panel: Json) -> Json:
    """Return a table whose queries are joined by their labels into one row each, a column a query."""
    columns = {f"Value #{target['refId']}": target["legendFormat"] for target in panel["targets"]}
    fields = panel["fieldConfig"]
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    return {
        **panel,
        "fieldConfig": {**fields, "defaults": {**fields["defaults"], "custom": custom}},
        "options": {"frameIndex": 0, "showHeader": True, "sortBy": []},
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": columns}},
        ],
    }
