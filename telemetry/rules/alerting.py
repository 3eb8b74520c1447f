"""The alerts of a mesh. A page is a symptom that callers feel; a cause is a ticket (SRE workbook, chapter 5)."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import (
    CERTIFICATE,
    CONNECTED,
    ERROR_RATIO,
    ERRORS,
    EXPIRY,
    HEALTHY,
    MESH,
    REFUSED,
    REQUESTS,
    SERVICE,
    SERVICE_INFO,
    WATCH_CONNECTED,
    selector,
)
from telemetry.rules.recording import BY_INSTANCE, BY_SERVICE
from telemetry.rules.rule import Alert, Group, Severity, Term

MOST_ERRORS = 0.05
"""The share of failed requests above which somebody is woken, until a service has an objective of its own."""

FEWEST_ERRORS = 10
"""Failed requests in five minutes below which the share says nothing: one of two is 50 %."""

EACH_SERVICE = (MESH, SERVICE)
TICKET_LIFE, PAGE_LIFE = 3, 6
"""Parts of a certificate's life. Renewal is due at half of it: a third left means that it failed for a while."""


def alert_group(mesh: Mesh) -> Group:
    """Return all alerts of a mesh."""
    name = mesh.mesh
    return Group(
        f"{name}-alerts",
        (
            high_error_ratio(name),
            no_healthy_instance(name),
            certificate("MeshCertificateExpiresSoon", name, mesh.certificates.ttl / TICKET_LIFE, "ticket"),
            certificate("MeshCertificateAboutToExpire", name, mesh.certificates.ttl / PAGE_LIFE, "page"),
            control_plane_disconnected(name),
            config_refused(name),
            target_down(name),
            metrics_absent(name),
            registry_unreachable(name),
            telemetry_down(name),
        ),
    )


def high_error_ratio(mesh: str) -> Alert:
    """Return the alert on too many failed requests, silent where there are too few to tell."""
    return Alert(
        name="MeshHighErrorRatio",
        terms=(
            Term(selector(ERROR_RATIO, mesh), f"> {MOST_ERRORS}"),
            Term(f"{selector(ERRORS, mesh)} * 300", f">= {FEWEST_ERRORS}"),
        ),
        on=EACH_SERVICE,
        severity="page",
        hold=timedelta(minutes=2),
        summary="{{ $labels.service }} fails {{ $value | humanizePercentage }} of its requests",
        description="More than 5% of the requests that reached {{ $labels.service }} in the last five minutes "
        "were answered with a 5xx status, and they were ten or more.",
    )


def no_healthy_instance(mesh: str) -> Alert:
    """Return the alert on a service that can answer nothing."""
    return Alert(
        name="MeshNoHealthyInstance",
        terms=(Term(selector(HEALTHY, mesh), "== 0"),),
        severity="page",
        hold=timedelta(minutes=1),
        summary="{{ $labels.service }} has no healthy instance",
        description="No instance of {{ $labels.service }} is registered, ready and healthy, so every call of it fails.",
    )


def certificate(name: str, mesh: str, left: timedelta, severity: Severity) -> Alert:
    """Return an alert on a proxy whose own certificate has less than `left` to live."""
    expiry = selector(EXPIRY, mesh, f'{CERTIFICATE}="{names.MESH_CERT}"')
    return Alert(
        name=name,
        terms=(Term(expiry, f"< {left.total_seconds():g}"),),
        severity=severity,
        summary="the certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}",
        description="Certificates are renewed at half of their life, so renewal for {{ $labels.instance }} has "
        "failed for a while. A negative time means that it has expired: new connections fail, old ones still serve.",
    )


def control_plane_disconnected(mesh: str) -> Alert:
    """Return the alert on a proxy that hears nothing of xds_server."""
    return Alert(
        name="MeshControlPlaneDisconnected",
        terms=(Term(f"min by ({BY_INSTANCE}) ({selector(CONNECTED, mesh)})", "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} is not connected to xds_server",
        description="The proxy of {{ $labels.instance }} serves on with what it was last told, and misses changes "
        "of instances and of mesh.yaml.",
    )


def config_refused(mesh: str) -> Alert:
    """Return the alert on a proxy that refused (NACKed) what it was sent."""
    return Alert(
        name="MeshConfigRefused",
        terms=(Term(selector(REFUSED, mesh), "> 0"),),
        severity="ticket",
        summary="{{ $labels.instance }} refused configuration ({{ $labels.type }})",
        description="The proxy of {{ $labels.instance }} refused an update of type {{ $labels.type }} in the last "
        "ten minutes and keeps the last good one.",
    )


def target_down(mesh: str) -> Alert:
    """Return the alert on a proxy, or a service of ours, that Prometheus cannot read."""
    return Alert(
        name="MeshTargetDown",
        terms=(Term(selector("up", mesh), "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} cannot be scraped",
        description="Prometheus gets no metrics from {{ $labels.instance }}, so nothing is known of it.",
    )


def metrics_absent(mesh: str) -> Alert:
    """Return the alert on a service that runs and is not measured: no series at all, unlike no requests.

    A vanished series makes every other alert silent, not red.
    """
    listed = f"group by ({BY_SERVICE}) ({selector(SERVICE_INFO, mesh)})"
    counted = f"count by ({BY_SERVICE}) ({selector(REQUESTS, mesh)})"
    return Alert(
        name="MeshMetricsAbsent",
        terms=(Term(f"{counted} or 0 * {listed}", "== 0"), Term(selector(HEALTHY, mesh), "> 0")),
        on=EACH_SERVICE,
        severity="ticket",
        hold=timedelta(minutes=10),
        summary="{{ $labels.service }} has instances but no request metrics",
        description="Instances of {{ $labels.service }} are healthy, yet Prometheus has no request counters of "
        "theirs, so the other alerts of this service cannot fire.",
    )


def registry_unreachable(mesh: str) -> Alert:
    """Return the alert on a telemetry that works from an old list of instances."""
    return Alert(
        name="MeshRegistryUnreachable",
        terms=(Term(f"min by ({MESH}) ({selector(WATCH_CONNECTED, mesh)})", "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="telemetry cannot reach xds_server",
        description="The targets of mesh {{ $labels.mesh }} are those of the last contact: new instances are not "
        "measured, and gone ones show as down.",
    )


def telemetry_down(mesh: str) -> Alert:
    """Return the alert on telemetry itself; without its inventory two other alerts are blind."""
    return Alert(
        name="MeshTelemetryDown",
        terms=(Term(selector(SERVICE_INFO, mesh)),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="telemetry of mesh {{ $labels.mesh }} is not measured",
        description="Prometheus has no list of the services of mesh {{ $labels.mesh }}, so missing instances and "
        "missing metrics go unnoticed.",
    )
