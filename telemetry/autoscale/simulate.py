"""What a policy would have made of a load that was recorded: the same decision, step by step. Pure."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from legation.mesh.model.autoscale import Autoscale, Metric
from telemetry.autoscale.decide import PER_INSTANCE, TOLERANCE, History, Observed, Reading, changed, decide

FLAP = 600.0
"""Seconds within which a step back is one that need not have been."""


class UnreadableRecord(ValueError):
    """A CSV file that is no record of a load; the text says where, and what would be one."""


@dataclass(frozen=True, slots=True)
class Load:
    """What all instances together had to do at a time (seconds): by metric, in the unit of `Autoscale.targets`."""

    at: float
    values: Mapping[Metric, float]


@dataclass(frozen=True, slots=True)
class Step:
    """What there was at a time: instances that were desired and that served, and the load by what they could take."""

    at: float
    desired: int
    ready: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """All steps, and what is to be learned from them.

    `short` are the seconds in which the load was above what served, `instance_seconds` what that cost, `flaps` steps
    that were taken back within ten minutes.
    """

    steps: tuple[Step, ...]
    ups: int
    downs: int
    flaps: int
    short: float
    instance_seconds: float


def simulate(policy: Autoscale, loads: Sequence[Load], *, begin: int, start_delay: float = 10.0) -> Simulation:
    """Replay a load, oldest first, from `begin` instances; a new one serves `start_delay` seconds after the decision.

    Latency is left out: what it would have been with another number of instances nobody knows.
    """
    targets = {metric: target for metric, target in policy.targets() if metric in PER_INSTANCE}
    steps = tuple(_steps(policy, targets, loads, begin, start_delay))
    moves = [(b.at, b.desired - a.desired) for a, b in itertools.pairwise(steps) if b.desired != a.desired]
    spans = [(a, b.at - a.at) for a, b in itertools.pairwise(steps)]
    return Simulation(
        steps,
        ups=sum(by > 0 for _, by in moves),
        downs=sum(by < 0 for _, by in moves),
        flaps=sum(a[1] * b[1] < 0 and b[0] - a[0] < FLAP for a, b in itertools.pairwise(moves)),
        short=sum(seconds for step, seconds in spans if step.ratio > 1 + TOLERANCE),
        instance_seconds=sum(step.desired * seconds for step, seconds in spans),
    )


def _steps(
    policy: Autoscale, targets: Mapping[Metric, float], loads: Iterable[Load], begin: int, start_delay: float
) -> Iterator[Step]:
    desired, history, starting = begin, History(), list[float]()
    for load in loads:
        starting = [at for at in starting if at > load.at]
        ready = max(0, desired - len(starting))
        readings = {m: Reading(load.values.get(m), max(1, ready), max(1, ready)) for m, _ in policy.targets()}
        # latency says nothing here, and would keep everybody
        known = policy.model_copy(update={"latency": None})
        decision, history = decide(known, Observed(desired, ready, readings), history, load.at)
        by = decision.replicas - desired
        history, desired = changed(history, by, load.at), decision.replicas
        starting = [*starting, *[load.at + start_delay] * by] if by > 0 else starting[: max(0, len(starting) + by)]
        ready = max(0, desired - len(starting))
        ratios = [load.values[m] / (t * ready) if ready else 0.0 for m, t in targets.items() if m in load.values]
        yield Step(load.at, desired, ready, max(ratios, default=0.0))


def read_csv(text: str) -> tuple[Load, ...]:
    """Return the load that a CSV file records: `time` (seconds, or RFC 3339) and a column a metric; oldest first.

    UnreadableRecord with the line where one is none; an empty field is a moment that was not measured.
    """
    rows = csv.DictReader(StringIO(text))
    names = [name.strip() for name in rows.fieldnames or ()]
    metrics: list[Metric] = [metric for metric in PER_INSTANCE if metric in names]
    if "time" not in names or not metrics:
        raise UnreadableRecord(f"line 1: {','.join(names)!r}: write time and {' or '.join(PER_INSTANCE)}")
    found = [_row(number, row, metrics) for number, row in enumerate(rows, 2)]
    if not found:
        raise UnreadableRecord("line 2: nothing is recorded here")
    return tuple(sorted(found, key=lambda load: load.at))


def _row(number: int, row: Mapping[str | None, str | list[str] | None], metrics: Iterable[Metric]) -> Load:
    fields = {str(name).strip(): str(value or "").strip() for name, value in row.items()}
    try:
        values = {metric: float(fields[metric]) for metric in metrics if fields[metric]}
        return Load(_time(fields["time"]), values)
    except ValueError as error:
        raise UnreadableRecord(f"line {number}: {error}") from None


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
