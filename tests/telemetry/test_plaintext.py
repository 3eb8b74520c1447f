"""Who sends plain text: the query of docs/metrics.md, on promtool, with what telemetry says of addresses."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from telemetry.inventory import Inventory
from tests.telemetry.registry import instance
from tests.telemetry.test_metrics import DOCS, SHOP, exported

PROMTOOL = shutil.which("promtool") or ""
real = pytest.mark.skipif(not PROMTOOL, reason="no promtool on the PATH: apt-get install prometheus")
OTHERS = "10.9.9.9"


def test_an_address_has_the_names_of_its_instances():
    """One sample an address, as PromQL joins nothing to several; those of this host alone are theirs too."""
    found = exported(
        Inventory(SHOP, (instance(1), instance(2), instance(3, address="127.0.1.1", loopback="127.0.9.3")))
    )
    assert found["mesh_caller_info"] == {
        ("web-v1-1,web-v1-3", "127.0.1.1"): 1,
        ("web-v1-2", "127.0.1.2"): 1,
        ("web-v1-3", "127.0.9.3"): 1,
    }
    assert exported(Inventory(SHOP))["mesh_caller_info"] == {}


@real
def test_plain_text_is_counted_by_instance_where_its_address_is_known(tmp_path: Path):
    queries = re.findall(r"```promql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (query,) = [text for text in queries if "envoy_plaintext_requests" in text]
    known = exported(Inventory(SHOP, (instance(1), instance(2))))["mesh_caller_info"]
    rates = {"127.0.1.1": "0+60x10", "127.0.1.2": "0+120x10", OTHERS: "0+180x10"}
    counted = [
        {"series": f'envoy_plaintext_requests{{service="orders",instance="o",source_address="{at}"}}', "values": values}
        for at, values in rates.items()
    ]
    info = [
        {"series": f'mesh_caller_info{{source_address="{at}",caller="{caller}"}}', "values": "1x10"}
        for caller, at in known
    ]
    expected = [
        ('{service="orders",source_address="127.0.1.1",caller="web-v1-1"}', 1),
        ('{service="orders",source_address="127.0.1.2",caller="web-v1-2"}', 2),
        (f'{{service="orders",source_address="{OTHERS}"}}', 3),
    ]
    case = {"expr": query, "eval_time": "9m", "exp_samples": [{"labels": text, "value": n} for text, n in expected]}
    tests = {
        "rule_files": [],
        "tests": [{"interval": "1m", "input_series": counted + info, "promql_expr_test": [case]}],
    }
    file = tmp_path / "plaintext.test.yaml"
    file.write_text(json.dumps(tests))
    done = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
