"""A story about an alert as a value: what is measured, and what the alert does at some moments of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

STEP = timedelta(minutes=1)
WHAT_CHANGED = "what_changed"
"""The annotation that names the changes before an alert, and what it says where there are none."""
NOTHING = "nothing within an hour, as far as telemetry knows"


@dataclass(frozen=True, slots=True)
class Series:
    """One input: labels of a metric, and its values a step, in promtool's notation (`0+60x20`)."""

    metric: str
    labels: Mapping[str, str]
    values: str

    def render(self) -> dict[str, str]:
        """Return the entry of `input_series`."""
        labels = ", ".join(f'{key}="{value}"' for key, value in self.labels.items())
        return {"series": f"{self.metric}{{{labels}}}", "values": self.values}


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert that is expected: its labels, and `$value` as its texts show it."""

    labels: Mapping[str, str]
    value: str = ""
    changed: str = NOTHING


@dataclass(frozen=True, slots=True)
class Moment:
    """What an alert is expected to do at a time after the start; nothing: it is silent."""

    at: timedelta
    firing: tuple[Firing, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One story: what is measured each `step`, and what the alert does at some moments of it."""

    name: str
    series: Sequence[Series]
    moments: Sequence[Moment]
    step: timedelta = STEP


def minutes(number: float) -> timedelta:
    """Return a time after the start of a case."""
    return timedelta(minutes=number)


def silent(*numbers: float) -> tuple[Moment, ...]:
    """Return moments, in minutes, at which nothing fires."""
    return tuple(Moment(minutes(number)) for number in numbers)


def fires(number: float, *firing: Firing) -> Moment:
    """Return a moment, in minutes, at which this fires."""
    return Moment(minutes(number), firing)


def duration(seconds: float) -> str:
    """Return a whole number of seconds as Prometheus's `humanizeDuration` writes it."""
    left, sign = abs(int(seconds)), "-" if seconds < 0 else ""
    parts = [(left // 86400, "d"), (left // 3600 % 24, "h"), (left // 60 % 60, "m"), (left % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), 3)
    return sign + " ".join(f"{number}{unit}" for number, unit in parts[first:])
