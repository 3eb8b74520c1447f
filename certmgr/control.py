"""certmgr's control API: what it holds, renewal on request, metrics."""

import os
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from certmgr.agent import Agent
from certmgr.issue.vault import VaultState
from certmgr.metrics import Metrics
from legation.runtime.control.messages import CertmgrStatus
from legation.runtime.control.server import reply


def routes(agent: Agent, metrics: Metrics, vault: Callable[[], VaultState]) -> list[BaseRoute]:
    """Return the routes of the control API."""

    async def status(_: Request) -> Response:
        return reply(
            CertmgrStatus(
                pid=os.getpid(),
                ready=agent.ready(),
                vault=vault(),
                seconds_to_outage=agent.seconds_to_outage(),
                identities=agent.identities(),
            )
        )

    async def renew(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            return reply(await agent.renew(name))
        except KeyError:
            return PlainTextResponse(f"no identity {name!r}", 404)
        except TimeoutError:
            return PlainTextResponse(f"{name} is not renewed yet: see its error in GET /status", 504)

    return [
        Route("/status", status),
        Route("/identities/{name}/renew", renew, methods=["POST"]),
        metrics_route(agent, metrics, vault),
    ]


def metrics_route(agent: Agent, metrics: Metrics, vault: Callable[[], VaultState]) -> BaseRoute:
    """Return the route of the metrics alone."""

    async def expose(_: Request) -> Response:
        left = agent.seconds_to_outage()
        metrics.seconds_to_outage.set(float("nan") if left is None else left)
        metrics.vault_up.set(vault() == "ok")
        for identity in agent.identities():
            metrics.streams.labels(identity.name).set(identity.streams)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", expose)
