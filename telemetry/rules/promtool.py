"""An alert's stories as promtool unit tests (Prometheus documentation, "Unit testing for rules")."""

from collections.abc import Mapping
from typing import Any

from legation.mesh.types import format_duration
from telemetry.rules.rule import Alert
from telemetry.rules.story import WHAT_CHANGED, Case, Firing


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
        "exp_annotations": {
            key: firing.changed if key == WHAT_CHANGED else fill(text, firing) for key, text in annotations.items()
        },
    }


def fill(text: str, firing: Firing) -> str:
    """Return an annotation as Prometheus would show it: labels by name, any form of `$value` as the expected one."""
    head, *rest = text.split("{{ ")
    for part in rest:
        name, _, tail = part.partition(" }}")
        head += (firing.value if name.startswith("$value") else firing.labels[name.removeprefix("$labels.")]) + tail
    return head
