"""Causes between services: retries, limits, connections, handshakes, restarts."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels, a_proxy, called, requests
from telemetry.rules.conventions import (
    CLUSTER,
    DESTINATION,
    EDGE_REQUESTS,
    INSTANCE,
    MESH,
    SERVICE,
    SOURCE,
    UPTIME,
    outbound,
    selector,
)
from telemetry.rules.edges import BY_EDGE, by_cluster, called_services, with_source
from telemetry.rules.recording import BY_INSTANCE
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent

MOST_RETRIES = 0.2
OVERFLOWS = ("envoy_cluster_upstream_rq_pending_overflow", "envoy_cluster_upstream_rq_retry_overflow")
"""Requests and retries that a circuit breaker or a retry budget held back: counters, as gauges miss what is short."""

EJECTED = "envoy_cluster_outlier_detection_ejections_active"
"""Instances that a caller's outlier detection keeps out now."""

HANDSHAKES = {
    "connection_error": "no TLS, or broken off",
    "fail_verify_no_cert": "no certificate",
    "fail_verify_error": "unknown CA or expired",
}
"""Handshakes that a proxy's inbound listener turned down, and why."""


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group; those about calls need one."""
    found = called_services(mesh)
    made = (retries, overflow, connect_failures)
    between = tuple(make(mesh, found[0]) for make in made) if found else ()
    watched = [name for name in found if mesh.services[name].outlier_detection is not None]
    out = (ejections(mesh, watched[0]),) if watched else ()
    return (*between, *out, handshakes(mesh), proxy_restarts(mesh))


def outgoing(mesh: str, *metrics: str) -> str:
    """Return the sum of outbound counters' rates by edge."""
    rates = " or ".join(
        f'label_replace(rate({outbound(metric, mesh)}[5m]), "counter", "{number}", "", "")'
        for number, metric in enumerate(metrics)
    )
    return f"sum by ({BY_EDGE}) ({with_source(by_cluster(f'({rates})'))})"


def _edge(mesh: Mesh, service: str) -> tuple[Labels, Labels]:
    """Return the labels of an edge, and of what its caller's proxy counts by cluster."""
    caller = called(mesh, service)
    edge = {MESH: mesh.mesh, SOURCE: caller[SERVICE], DESTINATION: service}
    return edge, {MESH: mesh.mesh, SERVICE: caller[SERVICE], INSTANCE: caller[INSTANCE], CLUSTER: f"{service}_v1"}


def retries(mesh: Mesh, service: str) -> Alert:
    """Return the alert on an edge that lives by its retries."""
    edge, counted = _edge(mesh, service)
    again = outgoing(mesh.mesh, "envoy_cluster_upstream_rq_retry")
    sent = requests(called(mesh, service), "2", "0+600x60")
    return Alert(
        name="MeshRetriesHigh",
        terms=(
            Term(f"{again} / ({selector(EDGE_REQUESTS, mesh.mesh)} > 0)", f"> {MOST_RETRIES}"),
            Term(f"{again} * 300", ">= 10"),
        ),
        on=(MESH, SOURCE, DESTINATION),
        severity="ticket",
        hold=timedelta(minutes=10),
        summary="{{ $labels.source }} repeats {{ $value | humanizePercentage }} of its requests to "
        "{{ $labels.destination }}",
        description="More than one request in five from {{ $labels.source }} to {{ $labels.destination }} had to be "
        "tried again for ten minutes. Callers may feel nothing yet; the next fault they will.",
        runbook="Find the sick instance on the dashboard of the called service: *Attempts by instance*. Retries hide "
        "it, and multiply load when all instances are sick.",
        dashboard="route",
        cases=(
            Case(
                "half are tried again for half an hour",
                [sent, Series("envoy_cluster_upstream_rq_retry", counted, "0x9 0+300x30 9000x20")],
                [*silent(9, 15), fires(30, Firing(edge, "50%")), *silent(50)],
            ),
            Case(
                "one in ten",
                [sent, Series("envoy_cluster_upstream_rq_retry", counted, "0+60x60")],
                silent(15, 30),
            ),
            Case(
                "little traffic: one of two",
                [
                    requests(called(mesh, service), "2", "0+1x60"),
                    Series("envoy_cluster_upstream_rq_retry", counted, "0+1x60"),
                ],
                silent(30),
            ),
            Case("no data", [], silent(30)),
        ),
    )


def overflow(mesh: Mesh, service: str) -> Alert:
    """Return the alert on requests that a caller's own limits hold back."""
    edge, counted = _edge(mesh, service)
    held = outgoing(mesh.mesh, *OVERFLOWS)
    none = Series(OVERFLOWS[1], counted, "0x60")
    return Alert(
        name="MeshCircuitBreakerOverflows",
        terms=(
            Term(f"{held} / ({selector(EDGE_REQUESTS, mesh.mesh)} > 0)", "> 0.01"),
            Term(f"{held} * 300", ">= 10"),
        ),
        on=(MESH, SOURCE, DESTINATION),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.source }} holds back {{ $value | humanizePercentage }} of its requests to "
        "{{ $labels.destination }}",
        description="A circuit breaker or a retry budget of {{ $labels.source }} rejects requests to "
        "{{ $labels.destination }} before they are sent.",
        runbook="Either the called service is slow, and the limit does what it is for: see its latency and its "
        "instances first. Or the limit is too low for today's traffic: raise it in mesh.yaml.",
        dashboard="route",
        cases=(
            Case(
                "one in ten is held back for half an hour",
                [
                    requests(called(mesh, service), "2", "0+600x60"),
                    none,
                    Series(OVERFLOWS[0], counted, "0x9 0+60x30 1800x20"),
                ],
                [*silent(9), fires(30, Firing(edge, "10%")), *silent(50)],
            ),
            Case(
                "one now and then",
                [requests(called(mesh, service), "2", "0+600x60"), none, Series(OVERFLOWS[0], counted, "0x9 1x50")],
                silent(15, 30),
            ),
            Case("no data", [], silent(30)),
        ),
    )


def ejections(mesh: Mesh, service: str) -> Alert:
    """Return the alert on instances that a caller's outlier detection keeps out."""
    edge, counted = _edge(mesh, service)
    out = f"max by ({BY_EDGE}) ({with_source(by_cluster(outbound(EJECTED, mesh.mesh)))})"
    return Alert(
        name="MeshInstancesEjected",
        terms=(Term(out, "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.source }} keeps {{ $value }} instances of {{ $labels.destination }} out",
        description="Outlier detection of {{ $labels.source }} has taken instances of {{ $labels.destination }} out "
        "of its load balancing, again and again, as they fail and others do not.",
        runbook="`legation logs --service SOURCE --code 5xx` shows which instance fails, and how; `legation logs "
        "--instance INSTANCE --kind app` what its app says. Replace it, or mend what it alone depends on.",
        dashboard="route",
        cases=(
            Case(
                "an instance fails for a quarter of an hour",
                [Series(EJECTED, counted, "0x9 1x15 0x20")],
                [*silent(9, 12), fires(18, Firing(edge, "1")), *silent(30)],
            ),
            Case("once, for a moment", [Series(EJECTED, counted, "0x9 1 0x30")], silent(10, 14, 20)),
            Case("no data", [], silent(20)),
        ),
    )


def connect_failures(mesh: Mesh, service: str) -> Alert:
    """Return the alert on connections that cannot be made."""
    edge, counted = _edge(mesh, service)
    metric = "envoy_cluster_upstream_cx_connect_fail"
    return Alert(
        name="MeshConnectionsFail",
        terms=(Term(f"{outgoing(mesh.mesh, metric)} * 300", ">= 10"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.source }} cannot connect to {{ $labels.destination }}",
        description="{{ $value | humanize }} connections from {{ $labels.source }} to {{ $labels.destination }} failed "
        "in five minutes: refused, timed out, or the other's certificate was not accepted.",
        runbook="The access log of the caller says which instance and why: `upstream` and `transport_failure`. A dead "
        "instance is withdrawn within seconds, so one that stays is alive and out of reach, or its certificate is bad.",
        dashboard="route",
        cases=(
            Case(
                "one a second fails for half an hour",
                [Series(metric, counted, "0x9 0+60x30 1800x20")],
                [*silent(9, 12), fires(30, Firing(edge, "300")), *silent(50)],
            ),
            Case("one a minute", [Series(metric, counted, "0+1x50")], silent(12, 30)),
            Case("no data", [], silent(30)),
        ),
    )


def handshakes(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that turns peers away."""
    proxy = a_proxy(mesh)
    inbound = f'envoy_listener_address="{names.INBOUND}"'
    rates = " + ".join(
        f"sum by ({BY_INSTANCE}) (rate({selector(f'envoy_listener_ssl_{kind}', mesh.mesh, inbound)}[5m]))"
        for kind in HANDSHAKES
    )
    listening = {**proxy, "envoy_listener_address": names.INBOUND}
    others = ("connection_error", "fail_verify_no_cert")
    quiet = [Series(f"envoy_listener_ssl_{kind}", listening, "0x60") for kind in others]
    metric = "envoy_listener_ssl_fail_verify_error"
    return Alert(
        name="MeshHandshakesFail",
        terms=(Term(f"({rates}) * 300", ">= 10"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.instance }} turns connections away",
        description="{{ $value | humanize }} connections to {{ $labels.instance }} failed in their TLS handshake in "
        "five minutes: plain text, no certificate, or one of an unknown CA or expired.",
        runbook="The security dashboard says which kind. *No certificate*: somebody calls past their own sidecar. "
        "*Unknown CA or expired*: a proxy that was not renewed, or one of another mesh. *No TLS*: plain text, or "
        "a port scan.",
        dashboard="security",
        cases=(
            Case(
                "one a second fails for half an hour",
                [*quiet, Series(metric, listening, "0x9 0+60x30 1800x20")],
                [*silent(9), fires(30, Firing(proxy, "300")), *silent(50)],
            ),
            Case("a few", [*quiet, Series(metric, listening, "0x9 8x50")], silent(12, 30)),
            Case("no data", [], silent(30)),
        ),
    )


def proxy_restarts(mesh: Mesh) -> Alert:
    """Return the alert on an Envoy that does not stay up."""
    proxy = a_proxy(mesh)
    return Alert(
        name="MeshProxyRestarts",
        terms=(Term(f"resets({selector(UPTIME, mesh.mesh)}[15m])", ">= 3"),),
        severity="ticket",
        summary="the Envoy of {{ $labels.instance }} has restarted {{ $value }} times in 15 minutes",
        description="The proxy of {{ $labels.instance }} ends again and again, and loses what it had in flight.",
        runbook="Its log is in the state folder under `instances/`. `mesh_instance_envoy_restarts_total` says whether "
        "it `ended` or `hung`, and was killed for it. Out of memory, or a crash: keep the log, and try the Envoy "
        "version before. One that hangs: look for a machine without processor time to spare.",
        dashboard="proxy",
        cases=(
            Case(
                "crashes every three minutes, and then no more",
                [Series(UPTIME, proxy, "600+60x9 0+60x2 0+60x2 0+60x2 0+60x2 0+60x40")],
                [*silent(9), fires(21, Firing(proxy, "4")), *silent(50)],
            ),
            Case("one restart", [Series(UPTIME, proxy, "600+60x9 0+60x40")], silent(12)),
            Case("no data", [], silent(30)),
        ),
    )
