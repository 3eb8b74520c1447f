"""What each panel gets of Prometheus: its queries as Grafana sends them, for the time that is shown."""

from collections.abc import Mapping
from typing import Any

import httpx

from dashboards.render import dashboards
from docs.pictures.shop import Shop

STEP = 2
RATE_INTERVAL = "20s"
Answers = dict[str, Any]


def answers(shop: Shop, chosen: Mapping[str, str]) -> Answers:
    """Return all dashboards, each target with its series as `found`; `chosen` are the variables' values."""
    with httpx.Client(base_url=shop.prometheus, timeout=30, trust_env=False) as client:
        boards = [_board(client, shop, board, chosen) for board in dashboards(shop.mesh)]
    return {"begin": shop.begin, "end": shop.end, "chosen": dict(chosen), "boards": boards}


def _board(client: httpx.Client, shop: Shop, board: Answers, chosen: Mapping[str, str]) -> Answers:
    panels = [_panel(client, shop, panel, chosen) for panel in board["panels"]]
    marks = [
        {"name": event["name"], "colour": event["iconColor"], "found": _range(client, shop, event["target"]["expr"])}
        for event in board["annotations"]["list"]
    ]
    name = board["uid"].removeprefix(f"{shop.mesh.mesh}-")
    variables = [v["name"] for v in board["templating"]["list"] if v["type"] == "query"]
    return {"name": name, "title": board["title"], "variables": variables, "panels": panels, "marks": marks}


def _panel(client: httpx.Client, shop: Shop, panel: Answers, chosen: Mapping[str, str]) -> Answers:
    asked = []
    for target in panel.get("targets", []):
        expr = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
        for name, value in chosen.items():
            expr = expr.replace(f"${name}", value)
        found = _instant(client, shop, expr) if target["instant"] else _range(client, shop, expr)
        asked.append({**target, "found": found})
    return {**panel, "targets": asked}


def _range(client: httpx.Client, shop: Shop, expr: str) -> list[Answers]:
    asked = {"query": expr, "start": str(shop.begin), "end": str(shop.end), "step": str(STEP)}
    return _result(client.post("/api/v1/query_range", data=asked))


def _instant(client: httpx.Client, shop: Shop, expr: str) -> list[Answers]:
    return _result(client.post("/api/v1/query", data={"query": expr, "time": str(shop.end)}))


def _result(answer: httpx.Response) -> list[Answers]:
    found = answer.json()
    assert found["status"] == "success", found  # noqa: S101 - a tool of ours
    return list(found["data"]["result"])
