"""Each link that the doctor looks at: what is asked, and what a wrong answer means."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from legation.mesh import names
from legation.mesh.model.logging import Logging
from legation.mesh.model.tracing import Tracing
from legation.runtime import http
from legation.runtime.control.client import ControlClient, ControlError
from legation.runtime.control.log_messages import LogPage
from legation.runtime.control.messages import TelemetryStatus
from legation.runtime.prometheus import Prometheus, PrometheusError
from legation.runtime.tasks import until
from telemetry.doctor.ask import get
from telemetry.doctor.finding import Finding, Hop
from telemetry.doctor.hop import counted
from telemetry.logs.sampling import is_kept
from telemetry.rules.alerts.records import LOGS_DROPPED, SPANS_DROPPED
from telemetry.rules.conventions import INSTANCE, PREFIX, REQUESTS, RQ_XX, selector

_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Counted:
    """What the caller's proxy has counted: requests to the service, and what of its records and spans was lost."""

    requests: float
    logs_dropped: float
    spans_dropped: float


@dataclass(frozen=True, slots=True)
class Sent:
    """The request, once it is answered; and what the proxy had counted before and after it."""

    mesh: str
    hop: Hop
    trace: str
    request: str
    before: Counted
    after: Counted
    traced: bool = True

    @property
    def tag(self) -> tuple[str, str]:
        """By what its records are found, and that: where there are traces, telemetry samples by them."""
        return ("trace", self.trace) if self.traced else ("request", self.request)


async def counts(hop: Hop) -> Counted:
    """Return what a proxy shows; HttpError when it shows nothing."""
    answer = await http.request(hop.metrics, "GET", "/stats/prometheus", limit=5.0)
    if answer.status != 200:
        raise http.HttpError(f"{hop.instance} answers {answer.status}")
    requests = counted(answer.text, RQ_XX, _label(hop))
    if requests is None:
        raise http.HttpError(f"{hop.instance} counts no requests to {hop.destination}")
    lost = (counted(answer.text, name) or 0.0 for name in (LOGS_DROPPED, SPANS_DROPPED))
    return Counted(requests, *lost)


def _label(hop: Hop) -> str:
    return f'{PREFIX}="{names.outbound_stat_prefix(hop.destination)}"'


def statistics(sent: Sent) -> Finding:
    """Look whether the proxy itself has counted the request: what all others know comes from there."""
    number = sent.after.requests - sent.before.requests
    where = f"{sent.hop.instance} at {sent.hop.metrics[0]}:{sent.hop.metrics[1]}"
    if number >= 1:
        return Finding(link="statistics", state="ok", said=f"{where} has counted it")
    return Finding(
        link="statistics",
        state="broken",
        said=f"{where} has counted nothing more",
        fix=f"was it replaced meanwhile? Ask again; then: legation run of {sent.hop.instance} anew",
    )


async def discovery(sent: Sent, telemetry: ControlClient) -> Finding:
    """Look whether Prometheus is told of the proxy."""
    try:
        status = await telemetry.get("/status", TelemetryStatus)
        answer = await get(status.discovery_url)
        listed = [group["labels"].get(INSTANCE) for group in json.loads(answer.text)] if answer.status == 200 else []
    except (ControlError, http.HttpError, ValueError, KeyError) as error:
        return Finding(link="discovery", state="broken", said=f"telemetry does not answer: {error}", fix=_TELEMETRY)
    if sent.hop.instance in listed:
        said = f"{status.discovery_url} lists {sent.hop.instance}"
        return Finding(link="discovery", state="ok", said=said)
    return Finding(
        link="discovery",
        state="broken",
        said=f"{status.discovery_url} lists {len(listed)} targets, and not {sent.hop.instance}",
        fix="telemetry is not told of it: legation status says whether xds_server answers",
    )


_TELEMETRY = "legation status says whether telemetry runs; its log is telemetry.log in the state folder's logs"


async def prometheus(sent: Sent, url: str | None, wait: float) -> Finding:
    """Look whether a Prometheus has what the proxy has counted."""
    if url is None:
        said = "mesh.yaml names no Prometheus: the proxy's own statistics are what there is"
        return Finding(
            link="prometheus", state="off", said=said, fix="prometheus: {url: …} in mesh.yaml, or --prometheus-url"
        )
    there, about = Prometheus(url, 5.0), (sent.mesh, f'{INSTANCE}="{sent.hop.instance}"')
    known: list[float] = []

    async def has_it() -> bool:
        known[:] = [s.samples[0][1] for s in await there.query(f"sum({selector(RQ_XX, *about, _label(sent.hop))})")]
        return bool(known) and known[0] >= sent.after.requests

    try:
        if await until(has_it, wait, _EVERY):
            return Finding(link="prometheus", state="ok", said=f"{url} has it ({known[0]:.0f} requests so far)")
        up = [s.samples[0][1] for s in await there.query(selector("up", *about))]
    except PrometheusError as error:
        fix = "start it, or correct prometheus.url in mesh.yaml"
        return Finding(link="prometheus", state="broken", said=str(error), fix=fix)
    return Finding(link="prometheus", state="broken", **_why_not(sent, url, wait, up, known))


def _why_not(sent: Sent, url: str, wait: float, up: list[float], known: list[float]) -> dict[str, str]:
    host, port = sent.hop.metrics
    if not up:
        return {
            "said": f"{url} has no target {sent.hop.instance}",
            "fix": "have it find targets by telemetry's discovery: legation render prometheus DIR writes how",
        }
    if not up[0]:
        return {
            "said": f"{url} cannot scrape {sent.hop.instance}",
            "fix": f"it must reach {host}:{port}; its page /targets says what hinders it",
        }
    newest = f"{known[0]:.0f} requests" if known else "no requests"
    return {
        "said": f"{url} has {newest} of {sent.hop.instance} after {wait:.0f} s, not {sent.after.requests:.0f}",
        "fix": "are series dropped by relabelling, or is the scrape interval longer? Then --wait SECONDS",
    }


async def rules(sent: Sent, url: str | None, wait: float) -> Finding:
    """Look whether our recording rules are evaluated: alerts and dashboards read what those record."""
    if url is None:
        return Finding(link="rules", state="off", said="no Prometheus is named")
    there = Prometheus(url, 5.0)

    async def are_there() -> bool:
        return bool(await there.query(selector(REQUESTS, sent.mesh)))

    try:
        found = await until(are_there, wait, _EVERY)
    except PrometheusError as error:
        return Finding(link="rules", state="unknown", said=str(error))
    if found:
        return Finding(link="rules", state="ok", said=f"{url} records {REQUESTS}")
    fix = "legation render prometheus DIR writes them: name them under rule_files"
    return Finding(link="rules", state="broken", said=f"{url} records no {REQUESTS}", fix=fix)


async def traces(
    sent: Sent, tracing: Tracing | None, url: str | None, wait: float, lost: Callable[[], Awaitable[float]]
) -> Finding:
    """Look whether a Jaeger shows the trace, a span of each end that makes one.

    `lost` says how many spans the proxy has dropped.
    """
    if tracing is None:
        fix = "tracing: {otlp: {host: …}} in mesh.yaml"
        return Finding(link="traces", state="off", said="mesh.yaml has no tracing", fix=fix)
    receiver, services = tracing.otlp, set[str]()
    there, ends = url or f"http://{receiver.host}:16686", _ends(sent.hop, tracing.mode)

    async def has_it() -> bool:
        answer = await get(f"{there.rstrip('/')}/api/traces/{sent.trace}")
        services.clear()
        services.update(_services(answer))
        return ends <= services

    at = f"{receiver.host}:{receiver.port}"
    try:
        if await until(has_it, wait, _EVERY):
            return Finding(
                link="traces", state="ok", said=f"{there}/trace/{sent.trace} has spans of {' and '.join(sorted(ends))}"
            )
        silent = ""
    except (http.HttpError, ValueError) as error:
        silent = str(error)
    if await lost() > sent.before.spans_dropped:
        fix = f"see that a receiver of OTLP over gRPC runs at {at} and is reached from this host"
        return Finding(
            link="traces", state="broken", said=f"{at} does not take the spans of {sent.hop.instance}", fix=fix
        )
    if silent:
        fix = "--jaeger-url says where traces are shown" if url is None else "start it, or correct --jaeger-url"
        return Finding(link="traces", state="unknown" if url is None else "broken", said=silent, fix=fix)
    return Finding(link="traces", state="broken", **_no_trace(sent, there, at, ends, services))


def _services(answer: http.Answer) -> set[str]:
    data = json.loads(answer.text).get("data") or []
    return {process["serviceName"] for trace in data for process in trace["processes"].values()}


def _no_trace(sent: Sent, there: str, at: str, ends: set[str], found: set[str]) -> dict[str, str]:
    if not ends & found:
        return {
            "said": f"{there} does not show trace {sent.trace}",
            "fix": f"is what it shows the same that takes spans at {at}? And does each proxy have the newest "
            "configuration (legation status)?",
        }
    return {
        "said": f"{there} has trace {sent.trace} without a span of {', '.join(sorted(ends - found))}",
        "fix": "does its proxy have the newest configuration (legation status), and reach the receiver from its host?",
    }


async def logs(
    sent: Sent, asked: Logging, telemetry: ControlClient, wait: float, lost: Callable[[], Awaitable[float]]
) -> Finding:
    """Look whether telemetry has the record of who served the request, and of its caller too where mesh.yaml says so.

    What the caller's own proxy has answered is in its record alone.
    """
    by, tag = sent.tag
    if not is_kept(tag, asked.sampling):
        return _not_kept("logs")
    words = urlencode({by: tag, "kind": "access", "limit": "10"})
    found, ends = set[str](), _ends(sent.hop, asked.mode)

    async def has_them() -> bool:
        page = await telemetry.get(f"/logs?{words}", LogPage)
        found.update(record.service for record in page.records)
        if any(r.service == sent.hop.source and "upstream_instance" not in r.fields for r in page.records):
            ends.discard(sent.hop.destination)
        return bool(found) and ends <= found

    try:
        if await until(has_them, wait, _EVERY):
            said = f"legation logs --{by} {tag} shows it, as {' and '.join(sorted(found))} wrote it"
            return Finding(link="logs", state="ok", said=said)
    except ControlError as error:
        said = "telemetry keeps no logs: it runs without --state" if error.status == 404 else f"telemetry: {error}"
        return Finding(link="logs", state="broken", said=said, fix=_TELEMETRY)
    missing = ", ".join(sorted(ends - found))
    if await lost() > sent.before.logs_dropped:
        return Finding(
            link="logs", state="broken", said=f"telemetry does not take the records of {missing}", fix=_TELEMETRY
        )
    fix = (
        "of an Envoy on another host: does it run with --logs, and telemetry there with --logs-to? Else: telemetry.log"
    )
    return Finding(link="logs", state="broken", said=f"there is no record of {missing}", fix=fix)


def _ends(hop: Hop, mode: str) -> set[str]:
    """Return the services whose proxies write down what went well, or make spans."""
    return {hop.destination} if mode == "server" else {hop.source, hop.destination}


def _not_kept(link: str) -> Finding:
    """Name the setting by which a request that went well is in no log."""
    return Finding(
        link=link,
        state="off",
        said="logging.sampling is 0: of requests that go well nothing is kept, so there is none to look for",
        fix="logging: {sampling: 1} in mesh.yaml keeps one in a hundred, and always the doctor's",
    )


async def receiver(sent: Sent, logging: Logging, telemetry: ControlClient, wait: float) -> Finding:
    """Look whether the team's own receiver has it: in Loki's own words where it is one."""
    asked = logging.otlp
    if asked is None:
        return Finding(link="log receiver", state="off", said="mesh.yaml has no logging.otlp")
    by, tag = sent.tag
    if not is_kept(tag, logging.sampling):
        return _not_kept("log receiver")
    base, is_loki = asked.url.removesuffix("/otlp/v1/logs"), asked.url.endswith("/otlp/v1/logs")
    headers = {"x-scope-orgid": asked.tenant} if asked.tenant else {}
    query = f'{{service_name=~"{sent.hop.source}|{sent.hop.destination}"}} | {by}_id="{tag}"'

    async def has_it() -> bool:
        answer = await get(f"{base}/loki/api/v1/query_range", {"query": query, "limit": "1"}, headers)
        return answer.status == 200 and bool(json.loads(answer.text)["data"]["result"])

    try:
        if is_loki and await until(has_it, wait, _EVERY):
            return Finding(link="log receiver", state="ok", said=f"{base} has it")
        problem = (await telemetry.get("/status", TelemetryStatus)).logs_problem
    except (http.HttpError, ControlError, ValueError, KeyError, TypeError) as error:
        problem = str(error)
    host = urlsplit(asked.url).netloc
    if problem:
        fix = f"see that {host} runs and takes OTLP over HTTP; records wait meanwhile, 16 MB of them"
        return Finding(link="log receiver", state="broken", said=problem, fix=fix)
    if is_loki:
        fix = "is what is asked the same that takes records, and the same tenant?"
        return Finding(link="log receiver", state="broken", said=f"{base} does not show the record", fix=fix)
    said = f"{host} takes records; whether it shows them cannot be asked, as it is no Loki"
    return Finding(link="log receiver", state="ok", said=said)
