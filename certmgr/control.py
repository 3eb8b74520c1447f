"""certmgr's control API: what it holds, renewal and revocation on request, metrics."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from certmgr.agent import Agent
from certmgr.core.bundle import Damaged
from certmgr.core.crl import BadCrl
from certmgr.core.setup import CannotSetUp
from certmgr.desk import Desk
from certmgr.issue.issuer import IssueError
from certmgr.issue.vault import VaultError, VaultState
from certmgr.metrics import Metrics
from certmgr.own_root import CannotFollow, OwnRoot
from certmgr.revocation import CannotRevoke
from certmgr.rollover import RollingOver
from certmgr.vaults import UnknownVault
from legation.mesh.rollover import Standing
from legation.runtime.control.client import ControlError
from legation.runtime.control.messages import CertificateMessage, CertmgrStatus, RevokeReport, RevokeRequest
from legation.runtime.control.rollover_messages import PresentCa, RolloverView, VaultCredentials
from legation.runtime.control.server import reply


def routes(
    desk: Desk, metrics: Metrics, vault: Callable[[], VaultState], rollover: RollingOver, own_root: OwnRoot
) -> list[BaseRoute]:
    """Return the routes of the control API."""
    agent = desk.agent

    async def status(_: Request) -> Response:
        return reply(
            CertmgrStatus(
                pid=os.getpid(),
                ready=agent.ready(),
                vault=vault(),
                seconds_to_outage=agent.seconds_to_outage(),
                identities=agent.identities(),
                crl_ends=desk.revocation.ends(),
                revoked=desk.revocation.revoked(),
                problem=desk.enrolment.problem or desk.revocation.problem,
                rollover=rollover.words(),
                vault_url=rollover.vaults.shown,
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

    async def chain(request: Request) -> Response:
        name = request.path_params["name"]
        found = agent.chain(name)
        if found is None:
            return PlainTextResponse(f"no certificate of {name!r}", 404)
        return reply(CertificateMessage(name=name, chain=found.decode()))

    async def revoke(request: Request) -> Response:
        try:
            wish = msgspec.json.decode(await request.body(), type=RevokeRequest)
        except msgspec.ValidationError as error:
            return PlainTextResponse(str(error), 400)
        return await _answered(desk.revoke(wish))

    return [
        Route("/status", status),
        Route("/identities/{name}/renew", renew, methods=["POST"]),
        Route("/identities/{name}/chain", chain),
        Route("/revoke", revoke, methods=["POST"]),
        metrics_route(agent, metrics, vault),
        *rollover_routes(rollover),
        own_root_route(own_root),
    ]


def rollover_routes(rollover: RollingOver) -> list[BaseRoute]:
    """Return the routes of this host's part in a roll-over."""

    async def learn(request: Request) -> Response:
        said = msgspec.json.decode(await request.body(), type=VaultCredentials)
        try:
            await asyncio.to_thread(rollover.vaults.learn, said.url, said.ca, said.role_id, said.wrapped_secret_id)
        except (VaultError, Damaged, OSError) as error:
            return PlainTextResponse(f"{said.url} is not taken: {error}", 409)
        return Response(status_code=204)

    async def present(_: Request) -> Response:
        try:
            return reply(PresentCa(ca=await asyncio.to_thread(rollover.present)))
        except (VaultError, UnknownVault, KeyError) as error:
            return PlainTextResponse(f"the CA of this host is not known: {error}", 503)

    return [Route("/vaults", learn, methods=["PUT"]), Route("/ca", present)]


def own_root_route(own_root: OwnRoot) -> BaseRoute:
    """Return the route that has another root follow the embedded OpenBao's now."""

    async def follow(_: Request) -> Response:
        try:
            return reply(RolloverView(standing=Standing(rollover=await own_root.follow())))
        except CannotFollow as error:
            return PlainTextResponse(str(error), 409)
        except (VaultError, CannotSetUp, ControlError, Damaged, OSError) as error:
            return PlainTextResponse(f"no root follows yet: {error}", 503)

    return Route("/root", follow, methods=["POST"])


async def _answered(work: Awaitable[RevokeReport]) -> Response:
    """Return what came of a revocation, or in plain words what kept it."""
    try:
        return reply(await work)
    except CannotRevoke as error:
        return PlainTextResponse(str(error), 409)
    except (VaultError, IssueError, BadCrl, Damaged, TimeoutError, OSError) as error:
        return PlainTextResponse(f"not done, or not all of it: {error}; ask again", 503)


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
