"""Panels as typed values, and the only file that imports grafanalib.

Every panel has a unit, and a description that says what it means and what to do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafanalib import core

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""The variable, never a name: nobody's Prometheus is called as ours."""

WIDTH = 24
"""Columns of Grafana's grid."""

Unit = Literal["reqps", "percentunit", "s", "short", "ops", "decbytes", "bool_yes_no"]
YES: Unit = "bool_yes_no"
Kind = Literal["stat", "timeseries", "table"]
Colour = Literal["green", "orange", "red", "blue", "text"]


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on (None: from the lowest), a value has this colour."""

    value: float | None
    colour: Colour


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query and what its lines, or a table's column, are called; a legend may use `{{label}}`.

    `unit` and `steps` are of a table's column, where they are not the panel's.
    """

    expr: str
    legend: str
    unit: Unit | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click on a value leads."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Event:
    """What is marked in all panels while a query has a value above 0; the first of `labels` names it there."""

    name: str
    expr: str
    labels: tuple[str, ...]
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `width` and `height` in Grafana's grid. Lines begin at `lowest`; None: at their own lowest."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    steps: tuple[Step, ...] = ()
    links: tuple[Link, ...] = ()
    width: int = 8
    height: int = 8
    lowest: float | None = 0


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, laid out from left to right."""

    title: str
    panels: tuple[Panel, ...]


def build(rows: Sequence[Row]) -> list[Any]:
    """Return grafanalib's panels of all rows, with ids and places; equal rows give equal panels."""
    built: list[Any] = []
    y = 0
    for row in rows:
        built.append(core.RowPanel(title=row.title, id=len(built) + 1, gridPos=core.GridPos(h=1, w=WIDTH, x=0, y=y)))
        y += 1
        x = line = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, line = 0, y + line, 0
            built.append(_build(panel, len(built) + 1, core.GridPos(h=panel.height, w=panel.width, x=x, y=y)))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return built


def variables(queried: Iterable[tuple[str, str, str]]) -> core.Templating:
    """Return the datasource variable and, of (name, label, query), the queried ones."""
    source = core.Template(name="datasource", label="Prometheus", type="datasource", query="prometheus")
    others = [
        core.Template(name=name, label=label, query=query, dataSource=DATASOURCE, refresh=2)
        for name, label, query in queried
    ]
    return core.Templating(list=[source, *others])


def dashboard(
    *,
    uid: str,
    title: str,
    description: str,
    tags: Sequence[str],
    rows: Sequence[Row],
    templating: Any,
    others: Sequence[tuple[str, str]] = (),
    events: Sequence[Event] = (),
) -> Any:
    """Return a dashboard as plain JSON values in grafanalib's (old) schema; `render` brings it up to date.

    `others` are (title, uid) of the dashboards that it links to, with its time range and its choices.
    """
    made = core.Dashboard(
        uid=uid,
        title=title,
        description=description,
        tags=list(tags),
        panels=build(rows),
        templating=templating,
        time=core.Time("now-1h", "now"),
        refresh="30s",
        timezone="browser",
        editable=False,
        links=[_link(name, other) for name, other in others],
        annotations=core.Annotations(list=[_event(event) for event in events]),
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
    )
    return _plain(made)


def _link(title: str, uid: str) -> dict[str, Any]:
    link = {"type": "link", "title": title, "url": f"/d/{uid}", "icon": "dashboard", "tooltip": "", "tags": []}
    return {**link, "asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False}


def _event(event: Event) -> dict[str, Any]:
    query = {"expr": event.expr, "refId": "Anno", "interval": "", "datasource": DATASOURCE}
    title = f"{{{{{event.labels[0]}}}}}"
    shown = {"titleFormat": title, "tagKeys": ",".join(event.labels), "iconColor": event.colour}
    return {"name": event.name, "datasource": DATASOURCE, "enable": True, "hide": False, "target": query, **shown}


def _build(panel: Panel, number: int, place: core.GridPos) -> Any:
    common = {
        "title": panel.title,
        "description": panel.description,
        "dataSource": DATASOURCE,
        "targets": [_target(query, index, panel.kind) for index, query in enumerate(panel.queries)],
        "id": number,
        "gridPos": place,
        "extraJson": {"fieldConfig": {"defaults": _defaults(panel), "overrides": _columns(panel)}},
    }
    match panel.kind:
        case "stat":
            return core.Stat(**common, format=panel.unit, reduceCalc="lastNotNull", noValue="no data")
        case "timeseries":
            return core.TimeSeries(
                **common, unit=panel.unit, fillOpacity=10, valueMin=panel.lowest, tooltipMode="multi"
            )
        case "table":
            return core.Table(**common, unit=panel.unit, filterable=True)


def _target(query: Query, index: int, kind: Kind) -> core.Target:
    return core.Target(
        expr=query.expr,
        legendFormat=query.legend,
        refId=chr(ord("A") + index),
        datasource=DATASOURCE,
        instant=kind == "table",
        format=core.TABLE_TARGET_FORMAT if kind == "table" else core.TIME_SERIES_TARGET_FORMAT,
    )


def _defaults(panel: Panel) -> dict[str, Any]:
    """Return the field defaults that grafanalib has no argument for in today's form."""
    steps = panel.steps or (Step(None, "text" if panel.kind == "stat" else "green"),)
    found: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": _thresholds(steps),
        "links": [{"title": link.title, "url": link.url, "targetBlank": False} for link in panel.links],
    }
    if panel.kind == "stat":
        found["color"] = {"mode": "thresholds"}
    return found


def _columns(panel: Panel) -> list[dict[str, Any]]:
    """Return what a table's columns have of their own; values with steps have their colour."""
    return [
        {"matcher": {"id": "byName", "options": query.legend}, "properties": _column(query)}
        for query in panel.queries
        if query.unit or query.steps
    ]


def _column(query: Query) -> list[dict[str, Any]]:
    unit = [{"id": "unit", "value": query.unit}] if query.unit else []
    if not query.steps:
        return unit
    coloured = {"id": "custom.cellOptions", "value": {"type": "color-text"}}
    return [*unit, {"id": "thresholds", "value": _thresholds(query.steps)}, coloured]


def _thresholds(steps: Sequence[Step]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"color": step.colour, "value": step.value} for step in steps]}


def _plain(value: Any) -> Any:
    """Return grafanalib's objects as dicts, lists and scalars."""
    if hasattr(value, "to_json_data"):
        return _plain(value.to_json_data())
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
