"""Logs and spans that are lost: what one looks for after another alert would not be there."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.components import component
from telemetry.rules.alerts.sample import a_proxy
from telemetry.rules.conventions import INSTANCE, MESH, selector
from telemetry.rules.recording import BY_INSTANCE
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent

LOGS_DROPPED = f"envoy_access_logs_open_telemetry_access_log_{names.LOGS_STAT_PREFIX.rstrip('.')}_logs_dropped"
SPANS_DROPPED = "envoy_tracing_opentelemetry_spans_dropped"
RECORDS_DROPPED = "telemetry_log_records_dropped_total"
OWN_SPANS = "legation_spans_total"
LOST = 'outcome="lost"'
REASON = "reason"


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group; those about spans need a mesh that is traced."""
    spans = (spans_dropped(mesh), own_spans_lost(mesh)) if mesh.tracing is not None else ()
    return (proxy_logs_dropped(mesh), log_records_dropped(mesh), *spans)


def proxy_logs_dropped(mesh: Mesh) -> Alert:
    """Return the alert on a proxy whose access log telemetry does not take."""
    return Alert(
        name="MeshProxyLogsDropped",
        terms=(Term(f"sum by ({BY_INSTANCE}) (rate({selector(LOGS_DROPPED, mesh.mesh)}[5m]))", "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.instance }} loses {{ $value | humanize }} records of its access log a second",
        description="telemetry does not take the access log of {{ $labels.instance }} in time. Requests are not held "
        "up; `legation logs` does not show them all.",
        runbook="All proxies of a host: telemetry there is down or hangs; `legation status` says which. It is back by "
        "itself. One proxy: its host is very busy.",
        dashboard="health",
        cases=_cases(mesh, LOGS_DROPPED),
    )


def spans_dropped(mesh: Mesh) -> Alert:
    """Return the alert on a proxy whose spans the receiver does not take."""
    return Alert(
        name="MeshSpansDropped",
        terms=(Term(f"sum by ({BY_INSTANCE}) (rate({selector(SPANS_DROPPED, mesh.mesh)}[5m]))", "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.instance }} loses {{ $value | humanize }} spans a second",
        description="The receiver of `tracing.otlp` does not take the spans of {{ $labels.instance }} in time. "
        "Requests are not held up; traces have gaps.",
        runbook="See that the receiver (Jaeger, a collector) runs and is reached from this host, and that it keeps up: "
        "`tracing.sampling` in mesh.yaml says how many requests are traced.",
        dashboard="health",
        cases=_cases(mesh, SPANS_DROPPED),
    )


def own_spans_lost(mesh: Mesh) -> Alert:
    """Return the alert on spans of our own work that the receiver does not take."""
    said = {**component(mesh, "xds_server"), "outcome": "lost"}
    fired = {MESH: mesh.mesh, INSTANCE: "xds_server"}
    return Alert(
        name="MeshOwnSpansLost",
        terms=(Term(f"sum by ({MESH}, {INSTANCE}) (increase({selector(OWN_SPANS, mesh.mesh, LOST)}[15m]))", "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=1),
        summary="{{ $labels.instance }} has lost spans of its own work",
        description="The receiver of `tracing.otlp` does not take the spans of {{ $labels.instance }} within two "
        "seconds. Nothing is held up; changes, certificates or instances of that time have no trace.",
        runbook="As for MeshSpansDropped: see that the receiver (Jaeger, a collector) runs and is reached from this "
        "host. `legation telemetry doctor` says whether it takes those of proxies.",
        dashboard="health",
        cases=(
            Case(
                "a change while the receiver is away",
                [Series(OWN_SPANS, said, "0x9 12x40")],
                [*silent(9), fires(13, Firing(fired)), *silent(40)],
            ),
            Case("none is lost", [Series(OWN_SPANS, said, "0x30")], silent(15)),
            Case("no data", [], silent(15)),
        ),
    )


def log_records_dropped(mesh: Mesh) -> Alert:
    """Return the alert on records that telemetry itself cannot keep, or pass on."""
    said = {**component(mesh, "telemetry"), REASON: "disk"}
    fired = {MESH: mesh.mesh, INSTANCE: "telemetry", REASON: "disk"}
    rate = f"sum by ({MESH}, {INSTANCE}, {REASON}) (rate({selector(RECORDS_DROPPED, mesh.mesh)}[5m]))"
    return Alert(
        name="MeshLogRecordsDropped",
        terms=(Term(rate, "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="telemetry loses {{ $value | humanize }} log records a second ({{ $labels.reason }})",
        description="Log records came in and were not kept, or not passed on to the receiver of `logging.otlp`. "
        "Requests are not held up.",
        runbook="By the reason: `rate`: more requests a second than are kept, and those that went well are left out; "
        "look at failures all the same. `full`: telemetry does not get the CPU or the disk that it needs. `disk`: the "
        "disk is full or broken; telemetry's log says how. `receiver_away`, `rejected`: the team's own receiver, or "
        "the telemetry that another host's log goes to, does not answer, or not well; telemetry's log has its words. "
        "`malformed`: something else than an Envoy of ours writes to the socket.",
        dashboard="health",
        cases=(
            Case(
                "a full disk for ten minutes",
                [Series(RECORDS_DROPPED, said, "0x9 0+60x10 600x20")],
                [*silent(9, 13), fires(18, Firing(fired, "1")), *silent(30)],
            ),
            Case("a moment", [Series(RECORDS_DROPPED, said, "0x9 60x30")], silent(10, 15, 20)),
            Case("no data", [], silent(15)),
        ),
    )


def _cases(mesh: Mesh, metric: str) -> tuple[Case, ...]:
    proxy = a_proxy(mesh)
    return (
        Case(
            "for ten minutes",
            [Series(metric, proxy, "0x9 0+60x10 600x20")],
            [*silent(9, 13), fires(18, Firing(proxy, "1")), *silent(30)],
        ),
        Case("telemetry starts anew", [Series(metric, proxy, "0x9 60x30")], silent(10, 15, 20)),
        Case("no data", [], silent(15)),
    )
