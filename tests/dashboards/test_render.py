"""The dashboards: golden JSON, and the rules that every panel keeps."""

import json
import re

import pytest

from dashboards import render
from dashboards.boards import Board
from dashboards.modern import SCHEMA_VERSION
from dashboards.panels import Panel, Query, Row
from dashboards.render import dashboards, queries, render_grafana
from legation.mesh.load import load
from telemetry.rules import promql
from telemetry.rules.alerting import alerts
from telemetry.rules.promql import InvalidQuery
from telemetry.rules.recording import recording_groups
from telemetry.rules.render import Target, annotations
from telemetry.rules.rule import Recording

TEXT = """
mesh: shop
trust_domain: shop.local
tracing: {otlp: {host: jaeger.internal}}
services:
  web: {protocol: http, port: 8080, calls: [orders], expose: {port: 8080}, slo: {availability: 99.9}}
  orders: {protocol: grpc, port: 9090, autoscale: {max: 5, in_flight: 10}}
"""
SHOP = load(TEXT, "mesh.yaml").mesh
SOLO = load("mesh: solo\ntrust_domain: solo.local\nservices: {only: {protocol: http, port: 80}}\n", "mesh.yaml").mesh
ALL = dashboards(SHOP)
(BOARD,) = [board for board in ALL if board["uid"] == "shop-service"]
PANELS = [
    {**panel, "title": f"{board['uid']}/{panel['title']}"}
    for board in ALL
    for panel in board["panels"]
    if panel["type"] != "row"
]
VARIABLE = {"type": "prometheus", "uid": "${datasource}"}


def title(panel) -> str:
    return panel["title"]


def test_the_dashboard_is_as_expected(golden):
    golden("dashboards/shop", dict(render_grafana(SHOP)))


def test_equal_meshes_give_equal_text():
    assert render_grafana(SHOP) == render_grafana(load(TEXT, "mesh.yaml").mesh)


def test_a_file_is_named_after_its_uid():
    boards = {name: json.loads(text)["uid"] for name, text in render_grafana(SHOP).items() if name.endswith(".json")}
    assert boards == {f"dashboards/{uid}.json": uid for uid in boards.values()}
    names = "mesh service route proxy security control slo health autoscaling"
    assert set(boards.values()) == {f"shop-{name}" for name in names.split()}


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_panel_has_a_unit_and_says_what_it_means(panel):
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 40
    assert panel["description"].endswith(".")


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_panel_asks_the_chosen_prometheus(panel):
    assert panel["datasource"] == VARIABLE
    assert panel["targets"]
    assert all(target["datasource"] == VARIABLE for target in panel["targets"])


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_query_is_about_this_mesh_and_what_is_chosen(panel):
    choices = {"service": "$service", "route": "$", "proxy": "$instance", "autoscaling": "$service"}
    choice = choices.get(panel["title"].partition("/")[0].removeprefix("shop-"), "")
    for target in panel["targets"]:
        filled = target["expr"].replace("$__rate_interval", "1m")
        selectors = promql.selectors(title(panel), filled)
        assert all('{mesh="shop"' in text for text in selectors)
        assert any(choice in text for text in selectors)


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_windows_follow_grafanas_rate_interval(panel):
    for target in panel["targets"]:
        assert set(re.findall(r"\[([$\w]+)\]", target["expr"])) <= {"$__rate_interval", "5m", "1h"}


@pytest.mark.parametrize("board", ALL, ids=lambda board: board["uid"])
def test_panels_do_not_overlap_and_stay_in_the_grid(board):
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) <= 23


def test_ids_are_unique():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_links_lead_by_uid_with_the_time_range():
    links = [link for panel in PANELS for link in panel["fieldConfig"]["defaults"]["links"]]
    uids = {board["uid"] for board in dashboards(SHOP)}
    assert links
    for link in links:
        assert link["url"].split("?")[0] in {f"/d/{uid}" for uid in uids}
        assert link["url"].endswith("&${__url_time_range}")


def test_every_dashboard_leads_to_all_others_with_its_time_range():
    uids = {board["uid"] for board in ALL}
    for board in ALL:
        assert {link["url"] for link in board["links"]} == {f"/d/{uid}" for uid in uids - {board["uid"]}}
        assert all(link["keepTime"] for link in board["links"])


def test_every_alert_leads_to_a_dashboard_that_is_there():
    uids = {board["uid"] for board in ALL}
    assert {f"shop-{alert.dashboard}" for alert in alerts(SHOP)} <= uids


def test_an_alert_chooses_on_its_dashboard_what_it_is_about():
    boards = {board["uid"]: board for board in ALL}
    for alert in alerts(SHOP):
        url = annotations(SHOP, alert, Target("http://127.0.0.1:1/sd"))["dashboard_url"]
        chosen = {variable["name"] for variable in boards[f"shop-{alert.dashboard}"]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", url)) >= chosen - {"datasource"}, url


def test_the_schema_is_todays():
    assert BOARD["schemaVersion"] == SCHEMA_VERSION >= 36
    assert not {"__inputs", "rows", "style", "sharedCrosshair", "hideControls", "gnetId"} & set(BOARD)
    for panel in PANELS:
        assert not {"span", "minSpan", "height", "editable", "error", "transparent"} & set(panel)


def test_variables_choose_a_prometheus_and_a_service_that_may_be_idle():
    source, chosen = BOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert chosen["query"]["query"] == 'label_values(mesh_service_info{mesh="shop"}, service)'
    assert chosen["datasource"] == VARIABLE


def test_recorded_series_that_are_shown_are_recorded():
    recorded = {rule.record for group in recording_groups(SHOP) for rule in group.rules if isinstance(rule, Recording)}
    shown = {name for where, query in queries(SHOP) for name in promql.metrics(where, query) if ":" in name}
    assert shown
    assert shown <= recorded


def test_queries_are_those_of_every_panel_for_every_service():
    found = [where for where, _ in queries(SHOP)]
    for name in ("web", "orders", "legation-gateway"):
        assert f"shop-service/Requests of {name}" in found
    assert not [query for _, query in queries(SHOP) if "$service" in query or "$__" in query]


def test_queries_hold_each_selector_by_itself_for_any_service():
    wanted = 'envoy_cluster_upstream_rq_retry{mesh="shop",envoy_cluster_name!~"_.+",service=~".+"}'
    assert ("shop-service/Retries", wanted) in queries(SHOP)


def test_a_mesh_without_calls_shows_no_dependencies():
    solo = {board["uid"]: board for board in dashboards(SOLO)}
    assert not {"solo-route", "solo-slo"} & set(solo)
    rows = [panel["title"] for panel in solo["solo-service"]["panels"] if panel["type"] == "row"]
    assert rows == ["Is it well?", "What reaches its instances", "Its proxies"]


def test_limits_of_the_certificate_follow_the_life_in_the_mesh():
    mesh = load(TEXT + "certificates: {ttl: 30m}\n", "mesh.yaml").mesh
    (board,) = [board for board in dashboards(mesh) if board["uid"] == "shop-service"]
    (panel,) = [p for p in board["panels"] if p["title"] == "Certificate"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["color"], step["value"]) for step in steps] == [("red", None), ("orange", 300), ("green", 600)]


def test_a_query_that_does_not_parse_is_refused_before_it_is_written(monkeypatch):
    broken = Row("Broken", (Panel("Broken", "It is broken.", "short", (Query("sum(", "x"),)),))
    monkeypatch.setattr(render, "boards", lambda _: (Board("service", "service", "Broken.", lambda _: (broken,)),))
    with pytest.raises(InvalidQuery, match="shop-service/Broken"):
        render.render_grafana(SHOP)


def test_a_long_line_of_panels_is_broken():
    places = [panel["gridPos"]["y"] for panel in BOARD["panels"] if panel["type"] == "timeseries"][:6]
    assert places == [6, 6, 6, 14, 14, 14]


@pytest.mark.parametrize("board", ALL, ids=lambda board: board["uid"])
def test_every_dashboard_chooses_its_prometheus_first(board):
    source, *others = board["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert all(variable["datasource"] == VARIABLE for variable in others)
    assert (board["time"], board["refresh"]) == ({"from": "now-1h", "to": "now"}, "30s")


@pytest.mark.parametrize("board", ALL, ids=lambda board: board["uid"])
def test_what_fires_and_what_has_changed_is_marked_on_every_dashboard(board):
    alert, change = board["annotations"]["list"]
    assert "ALERTS" in alert["target"]["expr"]
    assert "mesh_change_timestamp_seconds" in change["target"]["expr"]
    assert alert["datasource"] == change["datasource"] == VARIABLE


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_what_is_not_known_is_no_zero(panel):
    """A tile says so, a line has a gap; what counts beside nothing falls back to 0 in its query alone."""
    defaults = panel["fieldConfig"]["defaults"]
    assert {"stat": defaults.get("noValue") == "no data", "table": True}.get(
        panel["type"], defaults.get("custom", {}).get("spanNulls") is False
    )
    assert not defaults.get("mappings")
    assert not any("vector(0)" in target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel["type"] == "table"], ids=title)
def test_a_column_that_is_no_count_has_a_unit(panel):
    own = {o["matcher"]["options"]: o["properties"] for o in panel["fieldConfig"]["overrides"]}
    counts = {"instances", "rejects", *(f"burn {window}" for window in ("5m", "1h", "6h", "3d"))}
    for target in panel["targets"]:
        if target["legendFormat"] not in counts:
            assert any(found["id"] == "unit" for found in own[target["legendFormat"]])


def test_limits_of_failures_and_budgets_follow_the_slo():
    panels = {panel["title"]: panel for panel in PANELS}
    failed = panels["shop-service/Failed"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["color"], step["value"]) for step in failed] == [("green", None), ("orange", 0.001), ("red", 0.05)]
    burn = panels["shop-slo/Burn, last hour"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in burn] == [None, 1, 14.4]
    for name in ("shop-service/Who gets failures", "shop-slo/Share that is bad, and what is allowed"):
        assert any("service:mesh_slo_budget:ratio" in target["expr"] for target in panels[name]["targets"])


def test_a_budget_that_is_overspent_is_seen_to_be():
    (panel,) = [panel for panel in PANELS if panel["title"] == "shop-slo/Budget left over time"]
    assert "min" not in panel["fieldConfig"]["defaults"]


def test_a_mesh_with_more_shows_more():
    text = TEXT.replace("mesh: shop\n", "mesh: shop\nmtls: permissive\n")
    text = text.replace(
        "protocol: grpc, port: 9090,", "protocol: grpc, port: 9090, outlier_detection: {}, access: {mode: shadow},"
    )
    titles = {panel["title"] for board in dashboards(load(text, "mesh.yaml").mesh) for panel in board["panels"]}
    assert {"Kept out", "Would be denied", "In plain text"} <= titles
    assert not {"Kept out", "Would be denied", "In plain text"} & {panel["title"].partition("/")[2] for panel in PANELS}
