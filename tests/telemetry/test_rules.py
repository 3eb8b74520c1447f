"""The rules as values: conventions that every one of them keeps."""

import re
from itertools import groupby
from pathlib import Path

import pytest

from legation.mesh.load import load
from telemetry.rules import promql, runbook
from telemetry.rules.conventions import calls, dashboard_uid, inbound, outbound
from telemetry.rules.render import Target, all_groups, annotations, queries
from telemetry.rules.rule import Alert, Recording, Term
from telemetry.rules.story import duration
from tests.telemetry.registry import MESH

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
TARGET = Target("http://127.0.0.1:1/sd", grafana="https://grafana.example/", runbooks="https://books.example/mesh/")
SHOP = load(MESH, "mesh.yaml").mesh
RULES = [rule for group in all_groups(SHOP) for rule in group.rules]
ALERTS = [rule for rule in RULES if isinstance(rule, Alert)]


def name(rule) -> str:
    return rule.record if isinstance(rule, Recording) else rule.name


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_every_selector_asks_for_its_own_mesh(rule):
    assert all('{mesh="shop"' in text for text in promql.selectors(name(rule), rule.expr))


@pytest.mark.parametrize("rule", [r for r in RULES if isinstance(r, Recording)], ids=name)
def test_recorded_names_are_level_metric_operations(rule):
    assert re.fullmatch(r"(edge|service|instance):mesh_[a-z_]+:[a-z0-9_]+", rule.record)


def test_every_alert_has_a_runbook_in_the_docs(golden):
    golden("../../docs/runbooks", runbook.pages(ALERTS))


@pytest.mark.parametrize("alert", ALERTS, ids=name)
def test_links_lead_to_the_given_places(alert):
    links = annotations(SHOP, alert, TARGET)
    assert links["runbook_url"] == f"https://books.example/mesh/{alert.name}.md"
    assert (RUNBOOKS / f"{alert.name}.md").is_file()
    assert links["dashboard_url"].startswith("https://grafana.example/d/shop-")


@pytest.mark.parametrize("alert", ALERTS, ids=name)
def test_a_dashboard_is_linked_with_what_the_alert_is_about(alert):
    labels = next(f.labels for case in alert.cases for moment in case.moments for f in moment.firing)
    url = annotations(SHOP, alert, TARGET)["dashboard_url"]
    for label in ("service", "instance"):
        assert (f"var-{label}={{{{ $labels.{label} }}}}" in url) == (label in labels)


@pytest.mark.parametrize("alert", ALERTS, ids=name)
def test_every_alert_is_tested_firing_and_silent(alert):
    moments = [moment for case in alert.cases for moment in case.moments]
    assert {bool(moment.firing) for moment in moments} == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=name)
def test_every_alert_has_a_story_that_is_silent_and_one_without_data_or_little(alert):
    quiet = [case for case in alert.cases if not any(moment.firing for moment in case.moments)]
    assert any(case.series for case in quiet)
    assert any(not case.series or re.search("no data|little|no requests|vanish", case.name) for case in alert.cases)


@pytest.mark.parametrize("alert", ALERTS, ids=name)
def test_every_alert_is_tested_resolving(alert):
    stories = [[fires for fires, _ in groupby(bool(m.firing) for m in case.moments)] for case in alert.cases]
    assert [False, True, False] in stories


def test_limits_of_certificate_alerts_follow_the_life_in_the_mesh():
    mesh = load(MESH + "certificates: {ttl: 30m}\n", "mesh.yaml").mesh
    found = {r.name: r.terms[0].condition for g in all_groups(mesh) for r in g.rules if isinstance(r, Alert)}
    assert found["MeshCertificateExpiresSoon"] == "< 600"
    assert found["MeshCertificateAboutToExpire"] == "< 300"


@pytest.mark.parametrize(("said", "days"), [("", 30), ("certificates: {dev: true}\n", 2)])
def test_a_root_for_trying_things_out_is_not_told_of_all_its_life(said, days):
    """That of `legation up` lives seven days, and is followed by another one at half of them."""
    found = [r for g in all_groups(load(MESH + said, "mesh.yaml").mesh) for r in g.rules if isinstance(r, Alert)]
    (alert,) = (alert for alert in found if alert.name == "MeshTrustBundleExpires")
    assert alert.terms[0].condition == f"< {days * 86400}"


def test_queries_hold_what_alerts_measure_and_not_their_comparisons():
    found = [query for where, query in queries(SHOP) if where == "MeshControlPlaneDisconnected"]
    connected = 'envoy_cluster_upstream_rq_active{mesh="shop",envoy_cluster_name="_xds"}'
    assert found == [f"min by (mesh, service, instance) ({connected})", connected]


def test_a_query_is_there_once():
    found = [query for _, query in queries(SHOP)]
    assert len(found) == len(set(found))


def test_terms_of_an_alert_are_matched_by_its_labels():
    alert = Alert("A", (Term("a", "> 1"), Term("b", "> 2")), "page", "", "", "", (), on=("x", "y"))
    assert alert.expr == "(a) > 1 and on (x, y) (b) > 2"


def test_outbound_leaves_out_the_proxys_own_clusters():
    """That of HDS too, which checks the app and takes no other name: an app that is away is no failing call."""
    assert outbound("m", "shop") == 'm{mesh="shop",envoy_cluster_name!~"_.+"}'


def test_attempts_are_what_reaches_a_sidecar_and_requests_what_callers_sent():
    assert inbound("m", "shop", 'a="b"') == 'm{mesh="shop",envoy_http_conn_manager_prefix="inbound",a="b"}'
    assert (
        calls("m", "shop") == 'm{mesh="shop",envoy_http_conn_manager_prefix=~"outbound_[a-z0-9].*|gateway_[a-z0-9].*"}'
    )


def test_every_objective_is_burned_in_four_pairs_of_windows():
    factors = {a.name: a.terms[0].condition for a in ALERTS if "Burn" in a.name}
    assert factors == {
        "MeshErrorBudgetBurn1h": "> 14.4",
        "MeshErrorBudgetBurn6h": "> 6",
        "MeshErrorBudgetBurn1d": "> 3",
        "MeshErrorBudgetBurn3d": "> 1",
    }


def test_a_service_with_an_objective_pages_by_that_alone():
    (alert,) = [alert for alert in ALERTS if alert.name == "MeshHighErrorRatio"]
    assert 'service=~"orders"' in alert.expr


def test_a_mesh_that_promises_and_exposes_nothing_asks_for_less():
    """No objective, no gRPC, no gateway: no query for what is never there."""
    head, _, rest = MESH.partition("    expose")
    plain = load(head + rest.split("\n", 2)[2].replace("grpc", "http"), "mesh.yaml").mesh
    asked = " ".join(map(str, queries(plain)))
    assert "legation-gateway" not in asked
    assert "grpc" not in asked
    assert not [rule for group in all_groups(plain) for rule in group.rules if "objective" in str(rule)]
    latency_alone = load(MESH.replace("availability: 99.9, ", ""), "mesh.yaml").mesh
    assert "availability" not in " ".join(str(rule) for group in all_groups(latency_alone) for rule in group.rules)


def test_the_shop_has_fifteen_alerts():
    assert len(ALERTS) >= 15


def test_a_dashboards_uid_fits_grafana_and_differs_between_long_names():
    assert dashboard_uid("shop", "service") == "shop-service"
    long, other = "m" * 60 + "a", "m" * 60 + "b"
    assert len(dashboard_uid(long, "service")) == 40
    assert dashboard_uid(long, "service") != dashboard_uid(other, "service")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (50, "50s"), (-60, "-1m 0s"), (3600, "1h 0m 0s"), (90061, "1d 1h 1m 1s")]
)
def test_durations_are_written_as_prometheus_writes_them(seconds, text):
    assert duration(seconds) == text
