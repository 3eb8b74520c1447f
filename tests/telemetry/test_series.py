"""How many series a sidecar costs."""

import httpx
import pytest

from legation.mesh import names
from legation.mesh.load import load
from telemetry.cost import costs, sidecar
from tests.support.mesh import PLAIN
from tests.xds_server.compile.fleet import Fleet, wait_for

CALLED = ("a", "b", "c", "d", "e")
TEXT = """
mesh: five
trust_domain: five.local
services:
  web: {protocol: http, port: 80, calls: [a, b, c, d, e]}
""" + "".join(f"  {name}: {{protocol: http, port: 80, routes: [{{timeout: 200ms}}]}}\n" for name in CALLED)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    fleet = Fleet(TEXT, tmp_path_factory.mktemp("fleet"), logs_socket="/nowhere")
    fleet.add("web")
    with fleet.running():
        yield fleet


def scraped(fleet: Fleet) -> list[str]:
    url = f"http://{fleet.nodes['web-v1'].address}:{names.METRICS_PORT}/stats/prometheus"
    return [line for line in httpx.get(url, verify=PLAIN).text.splitlines() if line and not line.startswith("#")]


def test_the_full_profile_counts_all_and_costs_about_what_is_said(tmp_path):
    """First of this file: the other's Envoy has the same address."""
    text = TEXT + "metrics: {profile: full}\n"
    mesh = load(text, "mesh.yaml").mesh
    fleet = Fleet(text, tmp_path)
    fleet.add("web")
    with fleet.running():
        for name in CALLED:
            assert httpx.get(f"http://{fleet.outbound('web-v1', name)}/", verify=PLAIN).status_code in (503, 504)

        def all_are_timed() -> bool:
            return sum("downstream_rq_time_count" in line for line in scraped(fleet)) >= len(CALLED)

        wait_for(all_are_timed)
        found = scraped(fleet)
    assert 'envoy_cluster_upstream_cx_total{envoy_cluster_name="a"}' in "\n".join(found)
    assert not [line for line in found if 'conn_manager_prefix="metrics"' in line]
    assert len(found) == pytest.approx(sidecar(mesh, "web"), rel=0.1)


def test_a_sidecar_with_five_calls_has_at_most_200_series(web):
    for name in CALLED:
        assert httpx.get(f"http://{web.outbound('web-v1', name)}/", verify=PLAIN).status_code in (503, 504)

    def all_are_timed() -> bool:
        return sum("rq_time_count" in line for line in scraped(web)) >= len(CALLED)

    wait_for(all_are_timed)
    found = scraped(web)
    assert len(found) == sidecar(load(TEXT, "mesh.yaml").mesh, "web"), "what `legation telemetry cost` says"
    assert 100 < len(found) <= 200, "\n".join(found)
    for name in CALLED:
        assert any(f'prefix="outbound_{name}"' in line and 'class="5"' in line for line in found)


def test_a_thousand_paths_hosts_and_headers_add_no_series(web):
    """Whatever requests bear: what is counted is named by mesh.yaml alone."""
    url = f"http://{web.outbound('web-v1', 'a')}"
    with httpx.Client(trust_env=False, verify=PLAIN) as client:
        assert client.get(url).status_code in (503, 504)
        wait_for(lambda: any("rq_time_count" in line for line in scraped(web)))
        before = {line.rpartition(" ")[0] for line in scraped(web)}
        for number in range(1000):
            method = ("GET", "POST", "PUT", f"X{number}")[number % 4]
            headers = {
                "host": f"h{number}.example", f"x-{number}": str(number), "user-agent": f"u{number}",
                "x-request-id": f"r{number}", "baggage": f"b={number}", "x-envoy-original-path": f"/{number}",
            }  # fmt: skip
            path = f"/{number}/caf%C3%A9?q=%22{number}%0A"
            assert client.request(method, url + path, headers=headers).status_code in (400, 404, 503, 504)
    after = {line.rpartition(" ")[0] for line in scraped(web)}
    assert len(after) <= 200
    assert not [line for line in after - before if "999" in line or "example" in line or "caf" in line]
    assert len(after - before) < 20, sorted(after - before)


def test_a_mesh_costs_what_its_instances_cost_together():
    text = TEXT.replace("calls: [a, b, c, d, e]", "calls: [a], expose: {port: 80}")
    mesh = load(f"{text}workloads:\n  - {{service: web, instances: 3, command: [x]}}\n", "mesh.yaml").mesh
    found = {cost.service: (cost.series, cost.instances, cost.total) for cost in costs(mesh)}
    assert found["web"] == (73, 3, 219)
    assert found["a"] == (45, 0, 0)
    assert found["legation-gateway"][1] == 2
