"""`legation slo`: objectives from mesh.yaml, budgets and burn rates by a fake Prometheus's word."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Home
from tests.cli.test_scale import prometheus

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 1, expose: {port: 8080}, slo: {availability: 99.9}}
  orders: {protocol: http, port: 1, expose: {port: 8081}, slo: {latency: {threshold: 250ms, objective: 99}}}
  alone: {protocol: http, port: 1, slo: {availability: 99.9}}
"""


def answer(value: float) -> dict[str, Any]:
    """The same number for each series that is asked for; of latency nothing is known."""
    metric = {"service": "web", "slo": "availability"}
    other = {"service": "orders", "slo": "latency"}
    values = [{"metric": metric, "value": [0, str(value)]}, {"metric": other, "value": [0, "NaN"]}]
    return {"data": {"resultType": "vector", "result": values}}


def test_objectives_are_listed_without_a_prometheus(home: Home) -> None:
    home.write(MESH)
    done = home.legation("slo", "list", "-f", "mesh.yaml")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert ["web", "availability", "99.9", "%", "-"] in lines
    assert ["orders", "latency", "99", "%", "within", "250ms", "-"] in lines
    assert "no Prometheus is named" in done.stderr
    assert "alone" not in done.stdout, "nobody calls it"


@pytest.mark.parametrize(("value", "code", "left"), [(0.75, 0, "75.0%"), (-0.2, 3, "-20.0%"), (0.1, 0, "10.0%")])
def test_budgets_are_prometheus_s_word(home: Home, value: float, code: int, left: str) -> None:
    with prometheus(answer(value), []) as url:
        home.write(MESH + f"prometheus: {{url: {url}}}\n")
        done = home.legation("slo", "list", "-f", "mesh.yaml")
        assert (done.exit_code, left in done.stdout) == (code, True), done.output
        said = json.loads(home.legation("slo", "list", "-f", "mesh.yaml", "-o", "json").stdout)["objectives"]
    assert [(o["service"], o["budget_left"]) for o in said] == [("web", value), ("orders", None)]


def test_burn_rates_by_window(home: Home) -> None:
    home.write(MESH)
    asked: list[dict[str, list[str]]] = []
    with prometheus(answer(0.5), asked) as url:
        done = home.legation("slo", "burn", "-f", "mesh.yaml", "--prometheus-url", url)
        assert done.exit_code == 0, done.output
        (row,) = [line.split() for line in done.stdout.splitlines() if "web" in line]
        assert row[:4] == ["web", "availability", "99.9", "%"]
        assert row[5:12] == ["0.5"] * 7
        assert row[12:] == ["30", "d"], "half of the budget, at half of the pace"
        one = home.legation("slo", "burn", "orders", "-f", "mesh.yaml", "--prometheus-url", url, "-o", "json")
        (said,) = json.loads(one.stdout)["objectives"]
        assert set(said["burn"].values()) == {None}
    assert 'service:mesh_slo_burn:rate1h{mesh="shop"}' in {words["query"][0] for words in asked}


def test_a_burn_that_pages_is_a_finding(home: Home) -> None:
    home.write(MESH)
    with prometheus(answer(20), []) as url:
        done = home.legation("slo", "burn", "web", "-f", "mesh.yaml", "--prometheus-url", url)
    assert (done.exit_code, "page" in done.stdout) == (3, True), done.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("burn", "alone"), 2, "alone promises nothing that anybody could measure (known here: web, orders)"),
        (("burn",), 2, "no Prometheus is named"),
        (("burn", "--prometheus-url", "http://127.0.0.1:1"), 4, "http://127.0.0.1:1 does not answer"),
        (("list", "--prometheus-url", "http://127.0.0.1:1"), 4, "99.9 %"),
    ],
)
def test_what_cannot_be_said(home: Home, words: tuple[str, ...], code: int, said: str) -> None:
    home.write(MESH)
    done = home.legation("slo", *words, "-f", "mesh.yaml")
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_a_mesh_that_promises_nothing(home: Home) -> None:
    home.write("mesh: solo\ntrust_domain: solo.local\nservices: {only: {protocol: http, port: 80}}\n")
    done = home.legation("slo", "list", "-f", "mesh.yaml")
    assert (done.exit_code, "no service that somebody calls has an slo" in done.output) == (0, True)
