"""What telemetry answers: `/sd` and `/metrics` to Prometheus over TCP, `/status` on the control socket."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from legation.runtime.control.messages import Scaling, TelemetryStatus
from legation.runtime.control.server import reply
from telemetry.discovery import TargetGroup
from telemetry.hosts import METRICS, TEXT_FORMAT, Where, metrics_of
from telemetry.inventory import Inventory
from telemetry.logs.logs import Logs
from telemetry.logs.query import parse
from telemetry.metrics import Metrics

OWN_PATH = "/metrics/own"
"""What telemetry says of itself: that of the mesh is the same on each host, and would be counted twice."""


def public_routes(
    inventory: Callable[[], Inventory],
    targets: Callable[[], tuple[TargetGroup, ...]],
    metrics: Metrics,
    pages: Callable[[], Mapping[str, str]],
    elsewhere: Where = lambda _: None,
) -> tuple[Route, ...]:
    """Return the routes for Prometheus, and the runbooks that its alerts link to.

    `elsewhere` is where what runs on another host is asked for its metrics.
    """

    async def discover(_: Request) -> Response:
        metrics.discoveries.inc()
        if not inventory().complete:
            # On an error Prometheus keeps the targets that it has; an empty list would take them away.
            return PlainTextResponse("xds_server has not yet said which instances there are\n", 503)
        return JSONResponse([asdict(group) for group in targets()])

    async def export(_: Request) -> Response:
        return Response(metrics.text(), media_type=TEXT_FORMAT)

    async def own(_: Request) -> Response:
        return Response(metrics.own(), media_type=TEXT_FORMAT)

    async def runbook(request: Request) -> Response:
        text = pages().get(request.path_params["name"])
        if text is None:
            return PlainTextResponse("no such runbook: /runbooks/README.md lists them\n", 404)
        return PlainTextResponse(text)

    relay = Route(METRICS[1], metrics_of(elsewhere))
    pages_of = Route("/runbooks/{name}", runbook)
    return (Route("/sd", discover), Route("/metrics", export), Route(OWN_PATH, own), relay, pages_of)


def control_routes(
    inventory: Callable[[], Inventory],
    targets: Callable[[], tuple[TargetGroup, ...]],
    url: str,
    scaling: Callable[[], tuple[tuple[Scaling, ...], str | None]] = lambda: ((), None),
    logs: Logs | None = None,
) -> tuple[Route, ...]:
    """Return the routes of the control API; `url` is where `/sd` is, `scaling` what is scaled and what hinders it.

    Without `logs` none are kept here.
    """

    async def status(_: Request) -> Response:
        scaled, problem = scaling()
        return reply(
            TelemetryStatus(
                pid=os.getpid(),
                ready=inventory().complete,
                discovery_url=url,
                targets=len(targets()),
                scaling=scaled,
                scaling_problem=problem,
                logs_problem=None if logs is None else logs.forwarder.problem,
            )
        )

    routes = (Route("/status", status),)
    return routes if logs is None else (*routes, Route("/logs", partial(_search, logs)))


async def _search(logs: Logs, request: Request) -> Response:
    """Answer `GET /logs`: the words of `telemetry.logs.query`, and `wait` seconds for something after `after`."""
    words = dict(request.query_params)
    try:
        query, wait = parse(words), float(words.get("wait", "0"))
    except ValueError as error:
        return PlainTextResponse(f"{error}\n", 400)
    try:
        return reply(await logs.search(query, wait))
    except TimeoutError as error:
        return PlainTextResponse(f"{error}\n", 504)
