"""One dashboard as a picture, laid out as in Grafana: its grid, its panels, what each of them got."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from docs.pictures.units import written

WIDTH, COLUMNS, DPI = 1500, 24, 100
ROW, HEAD, GAP = 34, 46, 7
"""Pixels of a row of Grafana's grid, of the head, and between panels."""

COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "text": "#d8d9da"}
LINES = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffcb7d", "#ca95e5")
PAGE, PANEL, QUIET, GRID = "#111217", "#1c1f24", "#9fa7b3", "#2c3235"
Json = Mapping[str, Any]

mpl.use("agg")
mpl.rcParams.update({"font.size": 8.5, "font.family": "DejaVu Sans", "text.color": COLOURS["text"]})


def draw(board: Json, kept: Json, file: Path) -> None:
    """Write a dashboard's picture."""
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    height = HEAD + rows * ROW + GAP
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAGE)
    _head(figure, board, kept, height)
    for panel in board["panels"]:
        _panel(figure, panel, board, kept, height)
    figure.savefig(file)
    _smaller(file)


def _smaller(file: Path) -> None:
    """Keep as few colours as it has: a third of the bytes, and nobody sees it."""
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(160, dither=Image.Dither.NONE).save(file, optimize=True)


def _head(figure: Figure, board: Json, kept: Json, height: int) -> None:
    y = 1 - HEAD / 2 / height
    figure.text(0.008, y, board["title"], size=14, weight="bold", va="center")
    chosen = "   ".join(f"{name}: {kept['chosen'][name]}" for name in board["variables"])
    span = f"{_clock(kept['begin'])} to {_clock(kept['end'])} UTC"
    figure.text(0.992, y, "     ".join(filter(None, [chosen, span])), color=QUIET, size=10, va="center", ha="right")


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def _panel(figure: Figure, panel: Json, board: Json, kept: Json, height: int) -> None:
    at, unit = panel["gridPos"], (WIDTH - GAP) / COLUMNS
    left, top = GAP + at["x"] * unit, HEAD + at["y"] * ROW
    wide, high = at["w"] * unit - GAP, at["h"] * ROW - GAP
    place = (left / WIDTH, 1 - (top + high) / height, wide / WIDTH, high / height)
    if panel["type"] == "row":
        figure.text(place[0], place[1] + place[3] / 2, f"\u25be {panel['title']}", size=11, weight="bold", va="center")
        return
    frame = figure.add_axes(place, facecolor=PANEL)
    frame.set(xticks=[], yticks=[], xlim=(0, wide), ylim=(0, high))
    for spine in frame.spines.values():
        spine.set_color(GRID)
    frame.text(9, high - 15, panel["title"], size=9.5, weight="bold", va="center")
    match panel["type"]:
        case "stat":
            _stat(figure, frame, panel, place, (wide, high))
        case "timeseries":
            _lines(figure, panel, place, (wide, high), (board, kept))
        case "table":
            _table(frame, panel, (wide, high))


def _values(series: Json) -> tuple[list[float], list[float]]:
    """Return times and values; what is no number is a gap."""
    pairs = [(float(at), float(value)) for at, value in series["values"]]
    return [at for at, _ in pairs], [value if math.isfinite(value) else math.nan for _, value in pairs]


def _colour(value: float, thresholds: Json) -> str:
    found = "text"
    for step in thresholds["steps"]:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return COLOURS[found]


def _stat(figure: Figure, frame: Axes, panel: Json, place: Sequence[float], size: tuple[float, float]) -> None:
    """Draw the last value, in the colour of its threshold, above how it came to be."""
    defaults = panel["fieldConfig"]["defaults"]
    series = [_values(one) for target in panel["targets"] for one in target["found"]]
    known = [value for _, values in series for value in values if not math.isnan(value)]
    if not known:
        frame.text(size[0] / 2, size[1] / 2 - 8, defaults["noValue"], size=15, color=QUIET, ha="center", va="center")
        return
    colour = _colour(known[-1], defaults["thresholds"])
    text = written(known[-1], defaults["unit"])
    frame.text(size[0] / 2, size[1] / 2 - 2, text, size=22, color=colour, ha="center", va="center", weight="bold")
    axes = figure.add_axes((place[0], place[1], place[2], place[3] * 0.25))
    axes.axis("off")
    for times, values in series:
        axes.plot(times, values, color=colour, lw=1)
        axes.fill_between(times, values, min(0, *known), color=colour, alpha=0.15, lw=0)


def _named(legend: str, labels: Json) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend) or "value"


def _lines(
    figure: Figure, panel: Json, place: Sequence[float], size: tuple[float, float], of: tuple[Json, Json]
) -> None:
    """Draw lines over time, what was marked, and a legend below."""
    board, kept = of
    unit = panel["fieldConfig"]["defaults"]["unit"]
    wide, high = size
    axes = figure.add_axes(
        (
            place[0] + place[2] * 62 / wide,
            place[1] + place[3] * 46 / high,
            place[2] * (wide - 78) / wide,
            place[3] * (high - 80) / high,
        ),
        facecolor=PANEL,
    )
    drawn = [(_named(t["legendFormat"], one["metric"]), *_values(one)) for t in panel["targets"] for one in t["found"]]
    for number, (name, times, values) in enumerate(drawn):
        colour = LINES[number % len(LINES)]
        axes.plot(times, values, color=colour, lw=1.3, label=name)
        axes.fill_between(times, values, 0, color=colour, alpha=0.07, lw=0)
    _mark(axes, board)
    known = [v for _, _, values in drawn for v in values if not math.isnan(v)]
    most, least = max(known, default=0), 0 if "min" in panel["fieldConfig"]["defaults"] else min(0, *known)
    axes.set(xlim=(kept["begin"], kept["end"]), ylim=(least * 1.1, most * 1.1 or 1))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _clock(at)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=unit == "bool_yes_no" or (unit == "short" and most > 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.tick_params(colors=QUIET, labelsize=7.5, length=0)
    axes.grid(color=GRID, lw=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _legend(axes, drawn, wide)


def _legend(axes: Axes, drawn: Sequence[tuple[str, list[float], list[float]]], wide: float) -> None:
    if not drawn:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=QUIET, size=12)
        return
    longest = max(len(name) for name, *_ in drawn)
    columns = max(1, min(len(drawn), int(wide / (longest * 6 + 34))))
    shown = columns * 2
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[:shown], labels[:shown], loc="upper left", bbox_to_anchor=(-0.11, -0.085), ncols=columns, frameon=False,
        fontsize=7.5, handlelength=1.2, columnspacing=1.1, labelcolor=COLOURS["text"], labelspacing=0.25, borderpad=0.2,
    )  # fmt: skip


def _mark(axes: Axes, board: Json) -> None:
    """Draw a line where something that is marked began."""
    for mark in board["marks"]:
        for series in mark["found"]:
            axes.axvline(float(series["values"][0][0]), color=COLOURS[mark["colour"]], lw=1, ls="--", alpha=0.8)


def _table(frame: Axes, panel: Json, size: tuple[float, float]) -> None:
    """Draw the rows that the queries make together, the first query's order first."""
    wide, high = size
    columns = [target["legendFormat"] for target in panel["targets"]]
    labels = sorted({label for t in panel["targets"] for one in t["found"] for label in one["metric"]})
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for target in panel["targets"]:
        for one in target["found"]:
            key = tuple(one["metric"].get(label, "") for label in labels)
            rows.setdefault(key, {})[target["legendFormat"]] = float(one["value"][1])
    step = (wide - 20) / (len(labels) + len(columns))
    for number, name in enumerate((*labels, *columns)):
        frame.text(12 + number * step, high - 42, name, color=COLOURS["blue"], weight="bold", va="center")
    shown = int((high - 52) / 21)
    for line, (key, found) in enumerate(list(rows.items())[:shown]):
        y = high - 64 - line * 21
        frame.plot((8, wide - 8), (y + 11, y + 11), color=GRID, lw=0.6)
        cells = [(text or "-", COLOURS["text"]) for text in key]
        cells += [_cell(panel, column, found.get(column, math.nan)) for column in columns]
        for number, (text, colour) in enumerate(cells):
            frame.text(12 + number * step, y, text, color=colour, va="center")


def _cell(panel: Json, column: str, value: float) -> tuple[str, str]:
    fields = panel["fieldConfig"]
    own = {
        found["id"]: found["value"]
        for override in fields["overrides"]
        if override["matcher"]["options"] == column
        for found in override["properties"]
    }
    text = written(value, own.get("unit", fields["defaults"]["unit"]))
    known = "thresholds" in own and not math.isnan(value)
    return text, _colour(value, own["thresholds"]) if known else COLOURS["text"]
