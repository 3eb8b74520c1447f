"""What proxies count is what our queries read, and nothing else."""

import re
from pathlib import Path

import pytest

import dashboards.render
import telemetry.rules.render
from legation.mesh.load import load
from telemetry.rules.inclusion import inclusion
from telemetry.rules.promql import metrics
from telemetry.rules.rule import Recording
from tests.telemetry.registry import MESH
from xds_server.compile import inclusion as kept

SHOP = load(MESH, "mesh.yaml").mesh
HEAD = '''"""Which statistics a proxy counts: what our queries and our own readers read. RE2, of Envoy's own names.

Written from them by `make golden` (`telemetry.rules.inclusion`): what is read is counted, and nothing else.
"""

INCLUDED = (
'''


def read() -> set[str]:
    groups = telemetry.rules.render.all_groups(SHOP)
    rules = [(r.record, r.expr) for group in groups for r in group.rules if isinstance(r, Recording)]
    queries = rules + telemetry.rules.render.queries(SHOP) + dashboards.render.queries(SHOP)
    return {name for where, query in queries for name in metrics(where, query)}


def test_the_kept_list_is_what_our_queries_read(request, golden):
    text = HEAD + "".join(f'    r"{pattern}",\n' for pattern in inclusion(read())) + ")\n"
    file = Path(kept.__file__)
    if request.config.getoption("--update-golden"):
        file.write_text(text)
    assert file.read_text() == text, "xds_server/compile/inclusion.py differs: run make golden"


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("http.outbound_orders.downstream_rq_5xx", True),
        ("http.downstream_rq_given_up.envoy.http_conn_manager_prefix.gateway_web", True),
        ("http.gateway_web.downstream_rq_rx_reset", False),
        ("http.inbound.downstream_rq_time", True),
        ("http.inbound.downstream_cx_active", True),
        ("http.admin.downstream_rq_2xx", False),
        ("http.metrics.downstream_rq_2xx", False),
        ("cluster.orders_v1.upstream_rq_retry", True),
        ("cluster.orders.grpc.14", True),
        ("cluster.grpc_status.envoy.cluster_name.orders.envoy.grpc_status.UNAVAILABLE", True),
        ("cluster.grpc_status.envoy.cluster_name.orders.envoy.grpc_status.77", False),
        ("cluster.orders.grpc.payments.Charge.14", False),
        ("cluster._xds.upstream_rq_active", True),
        ("cluster._local_app.upstream_rq_active", False),
        ("cluster._local_app.upstream_cx_connect_fail", True),
        ("cluster._sds.upstream_rq_retry", False),
        ("listener.inbound.ssl.fail_verify_error", True),
        ("listener.inbound.ssl.certificate.mesh_cert.expiration_unix_time_seconds", True),
        ("cluster.orders.ssl.certificate.mesh_cert.expiration_unix_time_seconds", False),
        ("cluster_manager.warming_clusters", True),
        ("server.live", True),
        ("server.memory_heap_size", False),
    ],
)
def test_what_is_read_is_counted_and_nothing_else(name, counted):
    assert any(re.search(pattern, name) for pattern in kept.INCLUDED) == counted


def test_a_metric_of_an_unknown_place_is_an_error():
    with pytest.raises(ValueError, match="envoy_tracing_x"):
        inclusion(["envoy_tracing_x"])


def test_our_own_metrics_are_none_of_envoys():
    assert inclusion(["mesh_service_info"]) == inclusion([])
