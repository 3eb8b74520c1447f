"""promtool unit tests as values (Prometheus documentation, "Unit testing for rules")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from legation.mesh.types import format_duration
from telemetry.rules.rule import Alert

STEP = timedelta(minutes=1)


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


def render_case(alert: Alert, annotations: Mapping[str, str], case: Case) -> dict[str, Any]:
    """Return one entry of `tests`; every label and every annotation is held against what is expected."""
    return {
        "name": case.name,
        "interval": format_duration(case.step),
        "input_series": [series.render() for series in case.series],
        "alert_rule_test": [
            {
                "eval_time": format_duration(moment.at),
                "alertname": alert.name,
                "exp_alerts": [_expected(alert, annotations, firing) for firing in moment.firing],
            }
            for moment in case.moments
        ],
    }


def _expected(alert: Alert, annotations: Mapping[str, str], firing: Firing) -> dict[str, Any]:
    return {
        "exp_labels": {"severity": alert.severity, **firing.labels},
        "exp_annotations": {key: fill(text, firing) for key, text in annotations.items()},
    }


def fill(text: str, firing: Firing) -> str:
    """Return an annotation as Prometheus would show it: labels by name, any form of `$value` as the expected one."""
    head, *rest = text.split("{{ ")
    for part in rest:
        name, _, tail = part.partition(" }}")
        head += (firing.value if name.startswith("$value") else firing.labels[name.removeprefix("$labels.")]) + tail
    return head
