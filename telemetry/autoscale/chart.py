"""A simulation as lines of text: instances over time, and below them the load by what served. Pure."""

from collections.abc import Iterator, Sequence

from legation.mesh.model.autoscale import Autoscale
from telemetry.autoscale.decide import TOLERANCE
from telemetry.autoscale.simulate import Simulation, Step

_LEVELS = " ▁▂▃▄▅▆▇█"
_TALLEST = 12
"""Rows; of more instances than that, each row stands for several."""


def chart(result: Simulation, policy: Autoscale, width: int) -> Iterator[str]:
    """Yield the lines: a bar an interval, the most of it; `!` below where the load was above what served."""
    columns = max(10, width - 8)
    parts = _parts(result.steps, columns)
    most = max(policy.max, *(step.desired for part in parts for step in part))
    rows = min(most, _TALLEST)
    desired = [max(step.desired for step in part) for part in parts]
    for row in range(rows, 0, -1):
        floor = most * (row - 1) / rows
        yield f"{most * row / rows:5.0f} │" + "".join("█" if number > floor else " " for number in desired).rstrip()
    yield "      └" + "─" * len(parts)
    ratios = [max(step.ratio for step in part) for part in parts]
    yield " load  " + "".join(_level(ratio) for ratio in ratios)
    yield "       " + "".join("!" if ratio > 1 + TOLERANCE else " " for ratio in ratios).rstrip()


def _parts(steps: Sequence[Step], columns: int) -> list[Sequence[Step]]:
    """Return steps in as many parts of equal time as there are columns, none of them empty."""
    begin, end = steps[0].at, steps[-1].at
    if end <= begin:
        return [steps]
    parts: dict[int, list[Step]] = {}
    for step in steps:
        parts.setdefault(min(columns - 1, int((step.at - begin) / (end - begin) * columns)), []).append(step)
    last = parts[0]
    return [last := parts.get(column, [last[-1]]) for column in range(columns)]


def _level(ratio: float) -> str:
    """Return a bar that is full where the load is all that may be served."""
    return _LEVELS[min(len(_LEVELS) - 1, max(0, round(ratio * (len(_LEVELS) - 1))))]
