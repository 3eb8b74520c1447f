"""Queries against a running Prometheus: which of them have no data."""

import math
from collections.abc import Iterable

import httpx


def empty_queries(prometheus_url: str, queries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the (where, query) that give no series now, or only NaN; AssertionError when one is refused."""
    with httpx.Client(base_url=prometheus_url, timeout=10) as client:
        return [(where, query) for where, query in queries if not any(map(_is_number, values(client, where, query)))]


def values(client: httpx.Client, where: str, query: str) -> list[float]:
    """Return the values of an instant query (Prometheus documentation, "HTTP API")."""
    answer = client.post("/api/v1/query", data={"query": query}).json()
    assert answer["status"] == "success", f"{where}: {query}: {answer.get('error')}"
    result = answer["data"]["result"]
    samples = [result] if answer["data"]["resultType"] == "scalar" else [series["value"] for series in result]
    return [float(value) for _, value in samples]


def _is_number(value: float) -> bool:
    return not math.isnan(value)
