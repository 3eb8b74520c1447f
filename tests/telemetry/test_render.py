"""The rendered files: equal to the golden ones, and accepted by the real promtool."""

import os
import shutil
import subprocess
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from legation.mesh.load import load
from telemetry.rules.alerting import alerts
from telemetry.rules.alertmanager import INHIBITIONS
from telemetry.rules.render import Target, render_prometheus
from tests.telemetry.registry import MESH

PROMTOOL = shutil.which("promtool") or ""
AMTOOL = shutil.which("amtool")
COMPONENTS = {"telemetry": "127.0.0.1:15080", "certmgr": "127.0.0.1:15012"}
TARGET = Target("http://127.0.0.1:15080/sd", COMPONENTS)
SOLO = "mesh: solo\ntrust_domain: solo.local\nservices: {only: {protocol: http, port: 80}}\ncertificates: {ttl: %s}\n"
real = pytest.mark.skipif(not PROMTOOL, reason="no promtool on the PATH: apt-get install prometheus")


def rendered(text: str = MESH, target: Target = TARGET) -> dict[str, str]:
    return dict(render_prometheus(load(text, "mesh.yaml").mesh, target))


@cache
def of_the_shop() -> dict[str, str]:
    """Return what some forty tests take a copy of."""
    return rendered()


def written(folder: Path, text: str, target: Target = TARGET) -> Path:
    found = of_the_shop() if (text, target) == (MESH, TARGET) else rendered(text, target)
    for name, content in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_tests_and_configuration_are_as_expected(golden):
    golden("telemetry/shop", rendered())


def test_equal_meshes_give_equal_text():
    assert rendered() == rendered()


def test_all_parsed_yaml_is_as_written(tmp_path):
    for name, text in rendered().items():
        assert isinstance(YAML(typ="safe").load(text), dict), name
        assert text.startswith("# Written by legation"), name


@real
@pytest.mark.parametrize(
    "text", [MESH, (SOLO % "1m").replace("solo\n", "'1e3'\n", 1)], ids=["shop", "a name like a number"]
)
def test_promtool_takes_the_rules_and_their_tests_pass(tmp_path, text):
    folder = written(tmp_path, text)
    promtool("check", "rules", "--lint=all", "--lint-fatal", *folder.glob("rules/*.rules.yaml"))
    promtool("test", "rules", *folder.glob("tests/*.test.yaml"))


@pytest.mark.skipif(AMTOOL is None, reason="no amtool on the PATH: apt-get install prometheus-alertmanager")
def test_alertmanager_takes_its_configuration(tmp_path):
    assert AMTOOL
    done = subprocess.run([AMTOOL, "check-config", written(tmp_path, MESH) / "alertmanager.yaml"], check=False)
    assert done.returncode == 0


def test_every_alert_that_holds_others_back_exists_and_so_do_they():
    fired = {alert.name for alert in alerts(load(MESH, "mesh.yaml").mesh)}
    named = {name for one in INHIBITIONS for name in (one.cause, *one.effects)}
    assert named <= fired


def test_no_alert_is_held_back_by_one_that_it_holds_back():
    held = {one.cause: set(one.effects) for one in INHIBITIONS}
    assert not [(a, b) for a, effects in held.items() for b in effects if a in held.get(b, ())]


@real
@pytest.mark.parametrize("ttl", ["100s", "10m", "24h"])
def test_the_tests_of_certificates_hold_for_every_life(tmp_path, ttl):
    promtool("test", "rules", *written(tmp_path, SOLO % ttl).glob("tests/*Certificate*.test.yaml"))


@real
@pytest.mark.parametrize("target", [TARGET, Target("http://127.0.0.1:1/sd")], ids=["components", "no components"])
def test_promtool_takes_the_configuration(tmp_path, target):
    promtool("check", "config", written(tmp_path, MESH, target) / "prometheus.yaml")


@real
@pytest.mark.parametrize(
    ("file", "written_so", "broken"),
    [
        ("MeshHighErrorRatio", "> 0.05", "> 0.6"),
        ("MeshHighErrorRatio", "* 300) >= 10", "* 300) >= 0"),
        ("MeshErrorBudgetBurn1h", "> 14.4", "> 30"),
        ("MeshErrorBudgetBurn1h", "* 300) >= 10", "* 300) >= 1"),
        ("MeshErrorBudgetBurn1h", "300), 3600) >", "3600), 3600) >"),
        ("MeshErrorBudgetBurn6h", 'slo_burn:rate30m{mesh="shop"}) > 6', 'slo_burn:rate30m{mesh="shop"}) > -1'),
        ("MeshErrorBudgetBurn1d", 'slo_bad:rate5m{mesh="shop"}[1d]', 'slo_bad:rate5m{mesh="shop"}[6h]'),
        ("MeshErrorBudgetBurn6h", "> bool 14.4", "> bool 1000"),
        ("MeshErrorBudgetBurn6h", ">= bool 10", ">= bool 0"),
        ("MeshErrorBudgetBurn1h.counted", 'envoy_response_code_class="5"', 'envoy_response_code_class="2"'),
        ("MeshErrorBudgetBurn3d", "> 1 and on", "> 0.5 and on"),
        ("MeshErrorBudgetBurn3d", "[36h] offset 36h", "[36h] offset 1h"),
        ("MeshHighErrorRatio", "/d/shop-service?", "/d/other?"),
        ("MeshNoHealthyInstance", "for: 1m\n", "for: 30m\n"),
        ("MeshCertificateExpiresSoon", 'envoy_tls_certificate="mesh_cert"', 'envoy_tls_certificate=~"mesh_c.*"'),
        ("MeshCertificateAboutToExpire", "< 600", "< 3000"),
        ("MeshControlPlaneDisconnected", ',envoy_cluster_name="_xds"', ""),
        ("MeshConfigRejected", '"instance_id", "(.+)"))) > 0', '"instance_id", "(.+)"))) >= 0'),
        ("MeshInstanceNotSynced", "for: 5m\n", "for: 0s\n"),
        (
            "MeshProxyWarming",
            'sum by (mesh, service, instance) (envoy_cluster_manager_warming_clusters{mesh="shop"}) + ',
            "",
        ),
        ("MeshErrorBudgetBurn6h", 'slo_burn:rate5m{mesh="shop"}) > 1 ', 'slo_burn:rate5m{mesh="shop"}) > -1 '),
        ("MeshRetriesHigh", "> 0.2", "> 0.05"),
        ("MeshRetriesHigh", "* 300) >= 10", "* 300) >= 0"),
        ("MeshCircuitBreakerOverflows", "rq_pending_overflow", "rq_other_overflow"),
        ("MeshConnectionsFail", "* 300) >= 10", "* 300) >= 1"),
        ("MeshHandshakesFail", "envoy_listener_ssl_fail_verify_error", "envoy_listener_ssl_fail_verify_san"),
        ("MeshProxyRestarts", ">= 3", ">= 1"),
        ("MeshVaultDown", "for: 2m\n", "for: 0s\n"),
        ("MeshTrustBundleExpires", 'envoy_tls_certificate="mesh_ca"', 'envoy_tls_certificate=~"mesh_.+"'),
        ("MeshRegistryNotStored", "[10m]", "[2h]"),
        ("MeshComponentRestarts", ">= 3", ">= 1"),
        ("MeshTargetDown", 'up{mesh="shop"}) == 0', "up) == 0"),
        ("MeshAutoscaleBlind", "for: 5m\n", "for: 0s\n"),
        ("MeshAutoscaleAtMaximum", ") > 1.1 and", ") > 0.9 and"),
        ("MeshAutoscaleAtMaximum", ">= 0\n", ">= -1\n"),
        ("MeshMetricsAbsent", "for: 10m\n", "for: 1h\n"),
        (
            "MeshMetricsAbsent",
            '(service:mesh_instances_healthy:sum{mesh="shop"}) > 0',
            '(service:mesh_instances_healthy:sum{mesh="shop"}) >= 0',
        ),
        ("MeshRegistryUnreachable", "min by (mesh) (telem", "max by (mesh) (telem"),
        ("MeshTelemetryDown", "for: 5m\n", "for: 0s\n"),
        ("recorded", "> 0), 1) or 0 *", "> 0), 1) and 0 *"),
        ("recorded", "/ 1000", "/ 100"),
        ("recorded", 'envoy_response_code_class="5"', 'envoy_response_code_class="2"'),
        ("recorded", "rate(envoy_http_downstream_rq_given_up", "0 * rate(envoy_http_downstream_rq_given_up"),
        ("recorded", "unless envoy_http_downstream_rq_given_up", "and envoy_http_downstream_rq_given_up"),
        ("recorded", ') or 0 * service:mesh_requests:rate5m{mesh="shop"}\n', ")\n"),
        ("recorded", "_grpc_14", "_grpc_9"),
        ("recorded", "_grpc_status", "_grpc_state"),
        ("recorded", "UNAVAILABLE|", ""),
        ("recorded", "unless envoy_cluster_grpc_status", "and envoy_cluster_grpc_status"),
        ("recorded", "unless envoy_cluster_grpc_14", "and envoy_cluster_grpc_14"),
        ("recorded", "and on (mesh, instance)", "or on (mesh, instance)"),
        ("recorded", " or 0 * group", " and 0 * group"),
    ],
)
def test_the_rendered_tests_find_a_broken_rule(tmp_path, file, written_so, broken):
    folder = written(tmp_path, MESH)
    written_there = [rules for rules in folder.glob("rules/*.rules.yaml") if written_so in rules.read_text()]
    assert written_there
    for rules in written_there:
        rules.write_text(rules.read_text().replace(written_so, broken))
    command = [PROMTOOL, "test", "rules", str(folder / f"tests/shop.{file}.test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "exp:" in done.stdout + done.stderr) == (1, True), done.stdout + done.stderr


def test_a_part_that_is_scraped_by_itself_is_dropped_from_discovery():
    config = YAML(typ="safe").load(rendered()["prometheus.yaml"])
    sidecars, components = config["scrape_configs"]
    assert sidecars["relabel_configs"] == [
        {"source_labels": ["component"], "regex": "certmgr|telemetry", "action": "drop"}
    ]
    assert [c["labels"]["component"] for c in components["static_configs"]] == ["certmgr", "telemetry"]


def test_intervals_are_the_targets_own():
    target = Target(
        "http://127.0.0.1:1/sd", scrape_interval=timedelta(seconds=1), evaluation_interval=timedelta(minutes=1)
    )
    config = YAML(typ="safe").load(rendered(target=target)["prometheus.yaml"])
    assert config["global"] == {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1m"}
    assert config["scrape_configs"][0]["http_sd_configs"] == [
        {"url": "http://127.0.0.1:1/sd", "refresh_interval": "1s"}
    ]


def test_names_of_files_carry_the_mesh():
    names = {os.path.basename(name) for name in rendered()}  # noqa: PTH119 - relative paths of a mapping
    assert "shop.requests.rules.yaml" in names
    assert "shop.MeshTargetDown.test.yaml" in names
