"""A request as from outside, through the gateway: it is found by a word in its path, as its ids are the gateway's."""

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.runtime import http
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.log_messages import LogPage, LogRecord
from legation.runtime.control.messages import Instance
from legation.runtime.tasks import until
from telemetry.doctor.ask import get
from telemetry.doctor.finding import Finding
from telemetry.logs.sampling import is_kept

_LINK = "gateway"
_EVERY, _LIMIT = 0.5, 20.0
_ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - that of mesh.yaml, where nothing is bound


@dataclass(frozen=True, slots=True)
class Gate:
    """Where the gateway takes requests to a service, and what a client would call it."""

    service: str
    address: http.Address
    url: str
    authority: str


async def through_the_gateway(
    mesh: Mesh, instances: Sequence[Instance], telemetry: ControlClient, word: str, jaeger: str | None, wait: float
) -> Finding:
    """Send a request with this word, which is a trace's id too, and look for it in the log and, if it is there, Jaeger.

    Any answer will do: one that the gateway gives itself is logged as well.
    """
    exposed = [name for name in mesh.exposed() if mesh.services[name].protocol in ("http", "grpc")]
    if not exposed:
        return Finding(link=_LINK, state="off", said="mesh.yaml exposes nothing over HTTP or gRPC")
    gate = _gate(mesh, exposed[0], instances)
    if gate is None:
        said, fix = "no gateway is connected on this host", "ask on a host that has one; legation status says why not"
        return Finding(link=_LINK, state="unknown", said=said, fix=fix)
    try:
        answer = await _send(mesh, gate, word)
    except http.HttpError as error:
        fix = "legation status, and the gateway's envoy.log, say why"
        return Finding(link=_LINK, state="broken", said=f"{gate.url}: {error}", fix=fix)
    return await _found(mesh, gate, answer, telemetry, word, jaeger, wait)


def _gate(mesh: Mesh, service: str, instances: Sequence[Instance]) -> Gate | None:
    """Return where the first gateway that is connected takes requests to a service; None without one."""
    expose = mesh.services[service].expose
    here = (i.spec for i in instances if i.spec.service == names.GATEWAY and i.connected and not i.spec.by_name)
    spec = next(here, None)
    if spec is None or expose is None:
        return None
    host, port = str(expose.address), spec.outbound_ports.get(service, expose.port)
    host = "127.0.0.1" if host == _ANY_ADDRESS else host
    called = expose.hosts[0].replace("*", "legation-doctor") if expose.hosts else host
    if expose.tls is None:
        return Gate(service, (host, port), f"http://{called}:{port}", f"{called}:{port}")
    secure = http.Secure(host, port, _whoever, lambda _: None, called)
    return Gate(service, secure, f"https://{called}:{port}", f"{called}:{port}")


def _whoever() -> ssl.SSLContext:
    """Return what meets any server: whether clients trust its certificate is not what is asked here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _send(mesh: Mesh, gate: Gate, word: str) -> http.Answer:
    path = getattr(mesh.services[gate.service].health_check, "path", None) or "/"
    headers = {
        "host": gate.authority,
        "traceparent": f"00-{word}-{word[16:]}-01",
        "user-agent": "legation-telemetry-doctor",
    }
    query = {"legation-doctor": word}
    return await http.request(gate.address, "GET", path, query=query, headers=headers, limit=_LIMIT)


async def _found(
    mesh: Mesh, gate: Gate, answer: http.Answer, telemetry: ControlClient, word: str, jaeger: str | None, wait: float
) -> Finding:
    """Say whether the log has the request at both ends, and Jaeger, where it has to, its trace."""
    ours = mesh.tracing is not None and mesh.tracing.from_outside == "continue"
    if mesh.logging.sampling < 100 and not (ours and is_kept(word, mesh.logging.sampling)):
        said = f"{gate.url} answers {answer.status}; the gateway gives it ids of its own, so it need not be kept"
        return Finding(link=_LINK, state="unknown", said=said, fix="logging.sampling: 100 keeps all")
    record: list[LogRecord] = []

    async def at_both_ends() -> bool:
        record[:] = await _records(telemetry, {"text": word, "service": names.GATEWAY})
        if not record or "upstream_instance" not in record[0].fields:
            return bool(record)
        there = await _records(telemetry, {"request": record[0].request, "service": gate.service})
        return bool(there)

    try:
        whole = await until(at_both_ends, wait, _EVERY)
    except ControlError as error:
        return Finding(link=_LINK, state="broken", said=f"telemetry: {error}", fix="legation status says why")
    if not whole:
        missing = gate.service if record else "the gateway"
        fix = "does its Envoy run with --logs, and has it the newest configuration (legation status)?"
        return Finding(link=_LINK, state="broken", said=f"{gate.url}: there is no record of {missing}", fix=fix)
    said = f"{gate.url} answers {answer.status}; legation logs --request {record[0].request} shows it"
    if mesh.tracing is None or not (ours or mesh.tracing.sampling >= 100):
        return Finding(link=_LINK, state="ok", said=said)
    shown = jaeger or f"http://{mesh.tracing.otlp.host}:16686"
    return await _traced(f"{shown.rstrip('/')}/api/traces/{record[0].trace}", said, wait)


async def _traced(url: str, said: str, wait: float) -> Finding:
    """Look for the gateway's span; where no Jaeger answers, `traces` says so already."""

    async def has_it() -> bool:
        data = json.loads((await get(url)).text).get("data") or []
        services = {process["serviceName"] for trace in data for process in trace["processes"].values()}
        return names.GATEWAY in services

    try:
        if not await until(has_it, wait, _EVERY):
            said, fix = f"{said}, but {url} has no span of the gateway", "does it reach tracing.otlp from its host?"
            return Finding(link=_LINK, state="broken", said=said, fix=fix)
    except (http.HttpError, ValueError):
        return Finding(link=_LINK, state="ok", said=f"{said}; its trace was not looked for")
    return Finding(link=_LINK, state="ok", said=f"{said}, and Jaeger has its trace")


async def _records(telemetry: ControlClient, words: dict[str, str]) -> list[LogRecord]:
    page = await telemetry.get(f"/logs?{urlencode({**words, 'kind': 'access', 'limit': '1'})}", LogPage)
    return list(page.records)
