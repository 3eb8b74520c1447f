"""A mesh to all that a Prometheus needs: rules, their promtool tests, and its configuration."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from legation.mesh.model.mesh import Mesh
from legation.mesh.types import format_duration
from telemetry.rules import promql
from telemetry.rules.alerting import alert_groups, alerts
from telemetry.rules.alertmanager import alertmanager
from telemetry.rules.conventions import (
    CHANGE,
    COMPONENT,
    DESTINATION,
    GRAFANA,
    INSTANCE,
    MESH,
    RUNBOOKS,
    SERVICE,
    SOURCE,
    dashboard_uid,
    selector,
)
from telemetry.rules.promtool import render_case
from telemetry.rules.reads import closure, name_of
from telemetry.rules.recorded_tests import recorded_test
from telemetry.rules.recording import recording_groups
from telemetry.rules.rule import Alert, Group, Recording, Term
from telemetry.rules.story import NOTHING, STEP, WHAT_CHANGED, Case
from telemetry.rules.yaml_text import dump

CHOSEN = (SERVICE, INSTANCE, SOURCE, DESTINATION)
"""Labels of alerts that are variables of dashboards."""

HEAD = "Written by legation from mesh.yaml; a change here is lost with the next rendering."


@dataclass(frozen=True, slots=True)
class Target:
    """What a Prometheus is told beside the mesh.

    `discovery_url` is telemetry's `/sd`. `components` are our own services (name: host:port of their
    metrics); those named here are scraped even while discovery does not answer.
    """

    discovery_url: str
    components: Mapping[str, str] = field(default_factory=dict)
    scrape_interval: timedelta = timedelta(seconds=15)
    evaluation_interval: timedelta = timedelta(seconds=15)
    sample_limit: int = 50_000
    """Samples of one scrape above which it fails: a proxy has about 2,000, and 500 more a called service."""
    runbooks: str = RUNBOOKS
    """Where the pages of docs/runbooks are: a URL that their names are put behind."""
    grafana: str = GRAFANA
    alertmanager: str = "127.0.0.1:9093"
    """host:port; its own default."""


def render_prometheus(mesh: Mesh, target: Target) -> Mapping[str, str]:
    """Return the files by relative path: `rules/`, `tests/`, `prometheus.yaml` and `alertmanager.yaml`."""
    groups = all_groups(mesh)
    return {
        "prometheus.yaml": dump(prometheus(mesh, target), HEAD),
        "alertmanager.yaml": dump(alertmanager(mesh), HEAD),
        **{f"rules/{_file(mesh, group)}": dump({"groups": [_group(mesh, group, target)]}, HEAD) for group in groups},
        **_tests(mesh, groups, target),
    }


def all_groups(mesh: Mesh) -> tuple[Group, ...]:
    """Return every group of rules of a mesh; InvalidQuery when one of them does not parse."""
    groups = (*recording_groups(mesh), *alert_groups(mesh))
    for group in groups:
        for rule in group.rules:
            promql.parse(name_of(rule), rule.expr)
    return groups


def queries(mesh: Mesh) -> list[tuple[str, str]]:
    """Return (rule, query) of all that has data in a mesh that is well and has traffic.

    Recorded expressions whole, of alerts what they measure before they compare it, and each
    selector by itself, as a fallback to 0 would hide one that matches nothing.
    """
    found: dict[str, str] = {}
    for group in all_groups(mesh):
        for rule in group.rules:
            terms = [Term(rule.expr)] if isinstance(rule, Recording) else rule.terms
            for term in terms:
                whole = () if term.late else (term.signal,)
                for query in (*whole, *promql.lasting(name_of(rule), term.signal)):
                    found.setdefault(query, name_of(rule))
    return [(where, query) for query, where in found.items()]


def annotations(mesh: Mesh, alert: Alert, target: Target) -> dict[str, str]:
    """Return an alert's texts and links; the dashboard shows what the alert is about."""
    about = "&".join(f"var-{label}={{{{ $labels.{label} }}}}" for label in CHOSEN if _has(alert, label))
    return {
        "summary": alert.summary,
        "description": alert.description,
        WHAT_CHANGED: what_changed(mesh.mesh),
        "runbook_url": f"{target.runbooks.rstrip('/')}/{alert.name}.md",
        "dashboard_url": f"{target.grafana.rstrip('/')}/d/{dashboard_uid(mesh.mesh, alert.dashboard)}?{about}".rstrip(
            "?"
        ),
    }


def what_changed(mesh: str) -> str:
    """Return the text that names what has changed within an hour before an alert fires, the newest first."""
    query = f"topk(5, {selector(CHANGE, mesh)}) > time() - 3600".replace('"', '\\"')
    one = "{{ .Labels.what }}{{ if .Labels.by }} (by {{ .Labels.by }}){{ end }}, {{ .Value | humanizeTimestamp }}. "
    several = f"{{{{ range . }}}}{one}{{{{ end }}}}"
    return f'{{{{ with query "sort_desc({query})" }}}}{several}{{{{ else }}}}{NOTHING}{{{{ end }}}}'


def prometheus(mesh: Mesh, target: Target) -> dict[str, Any]:
    """Return a Prometheus configuration: our discovery, our rules."""
    sidecars: dict[str, Any] = {
        "job_name": f"{mesh.mesh}-mesh",
        "sample_limit": target.sample_limit,
        "http_sd_configs": [{"url": target.discovery_url, "refresh_interval": _refresh(target)}],
    }
    components: list[dict[str, Any]] = []
    if target.components:
        named = "|".join(sorted(target.components))
        sidecars["relabel_configs"] = [{"source_labels": [COMPONENT], "regex": named, "action": "drop"}]
        static = [
            {"targets": [at], "labels": {MESH: mesh.mesh, COMPONENT: name, INSTANCE: name}}
            for name, at in sorted(target.components.items())
        ]
        components = [{"job_name": f"{mesh.mesh}-legation", "static_configs": static}]
    return {
        "global": {
            "scrape_interval": format_duration(target.scrape_interval),
            "scrape_timeout": format_duration(min(target.scrape_interval, timedelta(seconds=10))),
            "evaluation_interval": format_duration(target.evaluation_interval),
        },
        "rule_files": ["rules/*.rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [target.alertmanager]}]}]},
        "scrape_configs": [sidecars, *components],
    }


def _refresh(target: Target) -> str:
    """Return how often to ask for targets: with each scrape, so that a new instance misses at most one."""
    return format_duration(target.scrape_interval)


def _has(alert: Alert, label: str) -> bool:
    """Say whether an alert bears a label, by its own stories."""
    return any(label in firing.labels for case in alert.cases for at in case.moments for firing in at.firing)


def _file(mesh: Mesh, group: Group) -> str:
    """Return the name of a group's file: one each, as promtool evaluates all groups of a file that a test names."""
    return f"{mesh.mesh}.{group.name.removeprefix(f'{mesh.mesh}-')}.rules.yaml"


def _group(mesh: Mesh, group: Group, target: Target) -> dict[str, Any]:
    interval = {"interval": format_duration(group.interval)} if group.interval else {}
    return {"name": group.name, **interval, "rules": [_rule(mesh, rule, target) for rule in group.rules]}


def _rule(mesh: Mesh, rule: Recording | Alert, target: Target) -> dict[str, Any]:
    if isinstance(rule, Recording):
        labels = {"labels": dict(rule.labels)} if rule.labels else {}
        return {"record": rule.record, "expr": rule.expr, **labels}
    hold = {"for": format_duration(rule.hold)} if rule.hold else {}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        **hold,
        "labels": {"severity": rule.severity},
        "annotations": annotations(mesh, rule, target),
    }


def _tests(mesh: Mesh, groups: tuple[Group, ...], target: Target) -> Mapping[str, str]:
    """Return one file an alert and kind of input, and one for all recorded series."""
    recorded = [rule.record for group in groups for rule in group.rules if isinstance(rule, Recording)]
    files = {}
    for alert in alerts(mesh):
        texts = annotations(mesh, alert, target)
        for name, given, cases in _by_input(alert, recorded):
            read = closure(groups, [alert.name], given)
            files[name] = _test_file(mesh, read, cases[0].step, [render_case(alert, texts, case) for case in cases])
    files["recorded"] = _test_file(mesh, closure(groups, recorded), STEP, [recorded_test(mesh)])
    return {f"tests/{mesh.mesh}.{name}.test.yaml": dump(content, HEAD) for name, content in files.items()}


def _by_input(alert: Alert, recorded: Collection[str]) -> Iterator[tuple[str, set[str], list[Case]]]:
    """Yield a file's name, the recorded series that its stories begin with, and those: the others cost promtool time.

    A story without any series goes with the first one's.
    """
    found: dict[frozenset[str], list[Case]] = {}
    for case in alert.cases:
        given = {series.metric for series in case.series or alert.cases[0].series} & set(recorded)
        found.setdefault(frozenset(given), []).append(case)
    for number, (known, cases) in enumerate(found.items()):
        yield f"{alert.name}.counted" if number else alert.name, set(known), cases


def _test_file(mesh: Mesh, groups: tuple[Group, ...], step: timedelta, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a promtool test file; promtool resolves `rule_files` from where the file stands."""
    return {
        "rule_files": [f"../rules/{_file(mesh, group)}" for group in groups],
        # Without an order promtool evaluates alerts before, or after, what they read.
        "group_eval_order": [group.name for group in groups],
        "evaluation_interval": format_duration(step),
        "tests": entries,
    }
