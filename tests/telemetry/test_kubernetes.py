"""Policies as Kubernetes manifests: golden, and taken by Kubernetes's own schema and by KEDA's."""

import subprocess
from pathlib import Path
from typing import Any

import go_tools
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from legation.mesh.load import load
from telemetry.autoscale.kubernetes import PROMETHEUS_URL, quantity, render_kubernetes
from telemetry.autoscale.queries import policy_queries
from telemetry.rules import promql

KUBERNETES = "1.30"
TEXT = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders], autoscale: {min: 2, max: 9, requests_per_second: 200, cpu: 70}}
  orders:
    protocol: http
    port: 8080
    autoscale: {max: 4, in_flight: 2.5, latency: 250ms, stabilization_window: 90s, cooldown: 2m}
  quiet: {protocol: http, port: 8080}
workloads:
  - {service: web, command: [web]}
  - {service: orders, version: v1, command: [orders]}
  - {service: orders, version: v2, command: [orders]}
"""
MESH = load(TEXT, "mesh.yaml").mesh
FILES = render_kubernetes(MESH, "shop", "http://prometheus:9090/")


def loaded(name: str) -> Any:
    return YAML(typ="safe").load(FILES[name])


def test_the_manifests_are_as_expected(golden):
    golden("kubernetes/shop", dict(FILES))


def test_a_mesh_without_a_policy_has_none():
    text = "mesh: solo\ntrust_domain: solo.local\nservices: {only: {protocol: http, port: 80}}\n"
    assert render_kubernetes(load(text, "mesh.yaml").mesh) == {}


def test_a_name_space_is_kubectl_s_unless_it_is_given():
    files = render_kubernetes(MESH)
    assert "namespace:" not in files["hpa/web.yaml"]
    assert PROMETHEUS_URL in files["keda/web.yaml"]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("hpa/")])
def test_kubernetes_takes_the_hpas(name):
    manifest = loaded(name)
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    broken = {**manifest, "spec": {**manifest["spec"], "minReplica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="minReplica"):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


@pytest.fixture(scope="module")
def keda() -> Path:
    """A program that decodes strictly into KEDA's own types."""
    try:
        return go_tools.build("keda")
    except go_tools.CannotBuild as error:
        pytest.skip(str(error))


def decoded(keda: Path, text: str) -> tuple[int, str]:
    done = subprocess.run([keda], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("keda/")])
def test_keda_takes_its_objects(keda, name):
    assert decoded(keda, FILES[name]) == (0, "")
    code, said = decoded(keda, FILES[name].replace("maxReplicaCount", "maxReplicas"))
    assert (code, 'unknown field "maxReplicas"' in said) == (1, True), said
    code, said = decoded(keda, FILES[name].replace("pollingInterval: 15", "pollingInterval: soon"))
    assert (code, "cannot unmarshal string" in said) == (1, True), said


def test_what_keda_and_the_adapter_ask_is_what_telemetry_asks():
    asked = {query for _, query in policy_queries(MESH)}
    (web,) = [t for t in loaded("keda/web.yaml")["spec"]["triggers"] if t["type"] == "prometheus"]
    assert web["metadata"]["query"] in asked
    rules = {rule["name"]["as"]: rule for rule in loaded("adapter.yaml")["externalRules"]}
    assert set(rules) == {"legation_requests_per_second", "legation_in_flight", "legation_latency"}
    for rule in rules.values():
        promql.parse(rule["name"]["as"], rule["seriesQuery"])
        filled = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'mesh="shop",service="web"')
        promql.parse(rule["name"]["as"], filled)
    rate = rules["legation_requests_per_second"]["metricsQuery"].replace("<<.LabelMatchers>>", 'service="web"')
    assert rate == web["metadata"]["query"]


def test_an_hpa_names_metrics_that_the_adapter_has():
    rules = {rule["name"]["as"] for rule in loaded("adapter.yaml")["externalRules"]}
    hpas = [loaded(name) for name in FILES if name.startswith("hpa/")]
    external = [m["external"] for hpa in hpas for m in hpa["spec"]["metrics"] if m["type"] == "External"]
    assert {metric["metric"]["name"] for metric in external} == rules


@pytest.mark.parametrize(("value", "written"), [(200, "200"), (0.25, "250m"), (0.7, "700m"), (2.5, "2500m")])
def test_numbers_are_written_as_kubernetes_has_them(value, written):
    assert quantity(value) == written
