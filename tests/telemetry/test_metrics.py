"""What telemetry exports, and that docs/metrics.md says so."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from certmgr.metrics import Metrics as CertmgrMetrics
from legation.mesh.load import load
from legation.mesh.model.autoscale import Autoscale
from legation.runtime.clock import WallClock
from telemetry.autoscale.actuator import Workload
from telemetry.autoscale.decide import Decision, History
from telemetry.autoscale.scaler import Outcome, Scaler
from telemetry.changes import Change
from telemetry.discovery import target_groups
from telemetry.inventory import Inventory
from telemetry.metrics import Metrics
from telemetry.rules.recording import recording_groups
from telemetry.rules.rule import Recording
from tests.telemetry.registry import MESH, instance
from xds_server.metrics import Metrics as XdsMetrics

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
SHOP = load(MESH, "mesh.yaml").mesh


def exported(inventory: Inventory) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples of each metric by their labels' values, in the order of the labels' names."""
    metrics = Metrics(lambda: inventory, lambda: target_groups("shop", inventory.instances or (), {}))
    families = text_string_to_metric_families(metrics.text().decode())
    return {f.name: {tuple(s.labels.values()): s.value for s in f.samples} for f in families}


def test_each_service_is_listed_and_the_gateway_where_something_is_exposed():
    assert exported(Inventory(SHOP))["mesh_service_info"] == {
        ("http", "web"): 1,
        ("grpc", "orders"): 1,
        ("gateway", "legation-gateway"): 1,
    }


def test_a_mesh_that_exposes_nothing_has_no_gateway():
    mesh = load(MESH.replace("    expose: {port: 8080}\n", ""), "mesh.yaml").mesh
    assert set(exported(Inventory(mesh))["mesh_service_info"]) == {("http", "web"), ("grpc", "orders")}


@pytest.mark.parametrize(
    ("changes", "healthy"),
    [
        ({}, 1),
        ({"healthy": None}, 1),
        ({"healthy": False}, 0),
        ({"state": "starting"}, 0),
        ({"state": "restarting"}, 0),
        ({"state": "draining"}, 0),
        ({"connected": False}, 0),
    ],
)
def test_an_instance_is_healthy_when_callers_get_it(changes, healthy):
    inventory = Inventory(SHOP, (instance(**changes),))
    assert exported(inventory)["mesh_instance_healthy"] == {("web-v1-1", "web", "v1"): healthy}


def test_an_instance_that_has_not_acked_everything_is_not_synced():
    inventory = Inventory(SHOP, (instance(1), instance(2, synced=False)))
    assert exported(inventory)["mesh_instance_synced"] == {("web-v1-1", "web", "v1"): 1, ("web-v1-2", "web", "v1"): 0}


def test_each_watch_has_its_state_and_time():
    found = exported(Inventory(connected=frozenset({"mesh"}), heard={"mesh": 12.5}))
    assert found["telemetry_watch_connected"] == {("instances",): 0, ("mesh",): 1}
    assert found["telemetry_watch_last_event_timestamp_seconds"] == {("mesh",): 12.5}


def test_an_instance_shows_how_many_types_it_rejects():
    inventory = Inventory(SHOP, (instance(nacks=("mesh.yaml:1:1: Cluster: no", "Listener: no")), instance(2)))
    assert exported(inventory)["mesh_instance_rejects"] == {("web-v1-1", "web", "v1"): 2, ("web-v1-2", "web", "v1"): 0}


def test_restarts_of_proxies_are_counted_by_what_was_wrong_from_0_on():
    found = exported(Inventory(SHOP, (instance(envoy_restarts={"hung": 2}),)))["mesh_instance_envoy_restarts"]
    assert found == {("web-v1-1", "hung", "web", "v1"): 2, ("web-v1-1", "ended", "web", "v1"): 0}


def test_our_own_counters_begin_at_0():
    """A series that begins at 1 has not increased, to Prometheus."""
    registry = CollectorRegistry()
    XdsMetrics(registry)
    CertmgrMetrics(registry).expect("web")
    found = {(s.name, *s.labels.values()): s.value for family in registry.collect() for s in family.samples}
    for labels in (("Listener",), ("Cluster",), ("ClusterLoadAssignment",), ("RouteConfiguration",)):
        assert found["xds_nacks_total", *labels] == 0
    assert found["xds_applies_total", "rejected"] == 0
    assert found["certmgr_renewals_total", "web", "failed"] == 0


def test_our_own_services_show_their_process():
    text = Metrics(Inventory, lambda: ()).text().decode()
    for name in re.findall(r"`(process_\w+)`", DOCS.read_text()):
        assert f"\n{name} " in text, name


def a_scaler() -> Scaler:
    """One that has decided about one version, and raised it once."""
    workload = Workload("web", "v1", 3, ("web-v1-0",), 1, {"web-v1-0": 12.5})
    decision = Decision(3, "3 needed", {"requests_per_second": 1.5})
    policy = Autoscale(min=1, max=5, requests_per_second=100)
    outcomes = {("web", "v1"): Outcome(workload, policy, decision, History())}
    counts = {("web", "v1", "up"): 1, ("web", "v1", "down"): 0}
    return Scaler(Inventory, nobody(), WallClock(), outcomes, counts=counts)


def nobody() -> Any:
    """No actuator: it is not asked here."""


def test_what_was_decided_is_shown():
    text = Metrics(Inventory, lambda: (), a_scaler()).text().decode()
    lines = {line for line in text.splitlines() if line.startswith("mesh_") and not line.startswith("mesh_service")}
    assert lines == {
        'mesh_autoscale_instances_desired{service="web",version="v1"} 3.0',
        'mesh_autoscale_instances_min{service="web",version="v1"} 1.0',
        'mesh_autoscale_instances_max{service="web",version="v1"} 5.0',
        'mesh_autoscale_blind{service="web",version="v1"} 0.0',
        'mesh_autoscale_target_ratio{metric="requests_per_second",service="web",version="v1"} 1.5',
        'mesh_autoscale_changes_total{direction="up",service="web",version="v1"} 1.0',
        'mesh_autoscale_changes_total{direction="down",service="web",version="v1"} 0.0',
        'mesh_instance_cpu_seconds_total{instance_id="web-v1-0",service="web",version="v1"} 12.5',
    }
    lost = a_scaler()
    lost.problem = "legation up does not answer"
    assert 'mesh_autoscale_blind{service="web",version="v1"} 1.0' in Metrics(Inventory, tuple, lost).text().decode()


def test_targets_are_counted():
    inventory = Inventory(SHOP, (instance(1), instance(2, connected=False)))
    assert exported(inventory)["telemetry_targets"] == {(): 1}


def test_the_docs_list_exactly_what_telemetry_exports():
    inventory = Inventory(SHOP, (instance(),), frozenset({"mesh"}), {"mesh": 1.0})
    metrics = Metrics(lambda: inventory, tuple, a_scaler(), lambda: (Change(at=1.0, kind="mesh", what="all"),))
    families = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        labels = {key for sample in family.samples for key in sample.labels}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if not name.endswith("_created") and not name.startswith("process_"):
            families[name] = (family.type, labels)
    assert documented("telemetry") == families


@pytest.mark.parametrize(("section", "declare"), [("xds_server", XdsMetrics), ("certmgr", CertmgrMetrics)])
def test_the_docs_list_exactly_what_our_other_services_export(section, declare):
    registry = CollectorRegistry()
    declare(registry)
    families = {}
    for collector in cast("Iterable[Any]", registry._collector_to_names):
        own = hasattr(collector, "_name")
        for metric in [collector] if own else collector.collect():
            name, kind = (metric._name, metric._type) if own else (metric.name, metric.type)
            families[f"{name}_total" if kind == "counter" else name] = (kind, set(metric._labelnames))
    assert documented(section) == families


def test_the_docs_list_every_recorded_series():
    rules = (rule for group in recording_groups(SHOP) for rule in group.rules)
    recorded = list(dict.fromkeys(rule.record for rule in rules if isinstance(rule, Recording)))
    section = DOCS.read_text().split("## Recorded by Prometheus\n")[1]
    assert re.findall(r"^\| `(\S+)`", section, re.MULTILINE) == recorded


def documented(service: str) -> dict[str, tuple[str, set[str]]]:
    section = DOCS.read_text().split(f"## {service}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {name.strip("`"): (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, *_ in rows}
