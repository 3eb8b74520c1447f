"""Sends one tagged request through a hop and looks for it in everything that measures."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from legation.mesh.model.mesh import Mesh
from legation.runtime import http
from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import Instance
from telemetry.doctor import links
from telemetry.doctor.finding import Diagnosis, Finding, Hop
from telemetry.doctor.gateway import through_the_gateway
from telemetry.doctor.hop import NoHop, choose
from telemetry.logs.sampling import is_kept

_LIMIT = 20.0
_TRIES = 100_000


@dataclass(frozen=True, slots=True)
class Words:
    """What is asked: between which services, where a Prometheus and a Jaeger are, and how long each may take (seconds).

    `trace` and `request` are the request's ids: 32 hex digits, and a UUID as Envoy makes them.
    """

    trace: str
    request: str
    source: str = ""
    destination: str = ""
    prometheus: str | None = None
    jaeger: str | None = None
    wait: float = 30.0


async def examine(mesh: Mesh, instances: Sequence[Instance], telemetry: ControlClient, words: Words) -> Diagnosis:
    """Return what was found, link by link; those behind a broken request or a deaf proxy are not looked at."""
    try:
        hop = choose(mesh, instances, words.source, words.destination)
    except NoHop as error:
        finding = Finding(link="request", state="broken", said="no request can be sent", fix=str(error))
        return _diagnosis(mesh, None, words, (finding, await _from_outside(mesh, instances, telemetry, words)))
    try:
        before = await links.counts(hop)
        answer = await _send(mesh, hop, words)
        after = await links.counts(hop)
    except http.HttpError as error:
        return _diagnosis(mesh, hop, words, (_deaf(hop, error),))
    sent = links.Sent(mesh.mesh, hop, words.trace, words.request, before, after, traced=mesh.tracing is not None)
    said = f"{hop.source} to {hop.destination}, as {hop.instance} sends it: {answer.status}"
    first = Finding(link="request", state="ok", said=said), links.statistics(sent)
    outside = _from_outside(mesh, instances, telemetry, words)
    return _diagnosis(mesh, hop, words, (*first, *await _others(mesh, sent, telemetry, words, outside)))


async def _from_outside(mesh: Mesh, instances: Sequence[Instance], telemetry: ControlClient, words: Words) -> Finding:
    return await through_the_gateway(mesh, instances, telemetry, words.trace, words.jaeger, words.wait)


def tags(mesh: Mesh, fresh: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """Return the ids of a trace and of a request that the mesh's log keeps; `fresh` makes new ones.

    Where it keeps none of what goes well, any.
    """
    for _ in range(_TRIES if mesh.logging.sampling else 1):
        trace, request = fresh()
        if is_kept(trace if mesh.tracing is not None else request, mesh.logging.sampling):
            break
    return trace, request


async def _others(
    mesh: Mesh, sent: links.Sent, telemetry: ControlClient, words: Words, outside: Awaitable[Finding]
) -> Sequence[Finding]:
    async def spans_lost() -> float:
        return (await links.counts(sent.hop)).spans_dropped

    async def logs_lost() -> float:
        return (await links.counts(sent.hop)).logs_dropped

    there = words.prometheus or (mesh.prometheus.url if mesh.prometheus is not None else None)
    return await asyncio.gather(
        links.discovery(sent, telemetry),
        links.prometheus(sent, there, words.wait),
        links.rules(sent, there, words.wait),
        links.traces(sent, mesh.tracing, words.jaeger, words.wait, spans_lost),
        links.logs(sent, mesh.logging, telemetry, words.wait, logs_lost),
        links.receiver(sent, mesh.logging, telemetry, words.wait),
        outside,
    )


async def _send(mesh: Mesh, hop: Hop, words: Words) -> http.Answer:
    """Send the request, as the instance's app would; any answer will do, a 403 too: it is measured all the same."""
    health = mesh.services[hop.destination].health_check
    path = getattr(health, "path", None) or "/"
    headers = {
        "traceparent": f"00-{words.trace}-{words.trace[16:]}-01",
        "x-request-id": words.request,
        "user-agent": "legation-telemetry-doctor",
    }
    return await http.request((hop.address, hop.port), "GET", path, headers=headers, limit=_LIMIT)


def _deaf(hop: Hop, error: http.HttpError) -> Finding:
    return Finding(
        link="request",
        state="broken",
        said=str(error),
        fix=f"the Envoy of {hop.instance} does not answer: legation status, and its envoy.log, say why",
    )


def _diagnosis(mesh: Mesh, hop: Hop | None, words: Words, findings: tuple[Finding, ...]) -> Diagnosis:
    return Diagnosis(mesh=mesh.mesh, hop=hop, trace=words.trace, request=words.request, findings=findings)
