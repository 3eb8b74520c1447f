"""Queries against a running Prometheus: which of them have no data."""

import math
from collections.abc import Iterable, Mapping

import httpx
from ruamel.yaml import YAML

from tests.support.mesh import PLAIN


def empty_queries(prometheus_url: str, queries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the (where, query) that give no series now, or only NaN; AssertionError when one is refused."""
    with httpx.Client(base_url=prometheus_url, timeout=10, verify=PLAIN) as client:
        return [(where, query) for where, query in queries if not any(map(_is_number, values(client, where, query)))]


def all_answered(prometheus_url: str, left: list[tuple[str, str]]) -> bool:
    """Take out of `left` what has data now; say whether nothing is left. To be asked again, at less and less cost."""
    left[:] = empty_queries(prometheus_url, left)
    return not left


def values(client: httpx.Client, where: str, query: str) -> list[float]:
    """Return the values of an instant query (Prometheus documentation, "HTTP API")."""
    answer = client.post("/api/v1/query", data={"query": query}).json()
    assert answer["status"] == "success", f"{where}: {query}: {answer.get('error')}"
    result = answer["data"]["result"]
    samples = [result] if answer["data"]["resultType"] == "scalar" else [series["value"] for series in result]
    return [float(value) for _, value in samples]


def _is_number(value: float) -> bool:
    return not math.isnan(value)


def manifest_queries(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (file, query) of what Kubernetes manifests ask, as KEDA and prometheus-adapter send it."""
    loaded = {name: YAML(typ="safe").load(text) for name, text in files.items()}
    rules = {rule["name"]["as"]: rule for rule in loaded["adapter.yaml"]["externalRules"]}
    found = [("adapter.yaml", rule["seriesQuery"]) for rule in rules.values()]
    for name, manifest in loaded.items():
        if name.startswith("keda/"):
            asked = [trigger["metadata"].get("query") for trigger in manifest["spec"]["triggers"]]
            found += [(name, query) for query in asked if query]
        if name.startswith("hpa/"):
            metrics = [one["external"]["metric"] for one in manifest["spec"]["metrics"] if "external" in one]
            found += [(name, _selected(rules[metric["name"]], metric["selector"]["matchLabels"])) for metric in metrics]
    return found


def _selected(rule: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """Return an adapter's query for the labels that an HPA names."""
    return rule["metricsQuery"].replace(
        "<<.LabelMatchers>>", ",".join(f'{key}="{value}"' for key, value in labels.items())
    )
