"""What is not measured: other alerts would stay silent, not go off."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import EACH_SERVICE, a_proxy, a_service, requests
from telemetry.rules.conventions import (
    HEALTHY,
    INSTANCE_HEALTHY,
    MESH,
    PREFIX,
    RQ_XX,
    SERVICE_INFO,
    WATCH_CONNECTED,
    arriving,
    selector,
)
from telemetry.rules.recording import BY_SERVICE
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent

_COUNTED = 'protocol!="tcp"'
"""The services that have requests."""


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group."""
    return (target_down(mesh), metrics_absent(mesh), registry_unreachable(mesh), telemetry_down(mesh))


def target_down(mesh: Mesh) -> Alert:
    """Return the alert on a proxy, or a service of ours, that Prometheus cannot read."""
    proxy = a_proxy(mesh)
    return Alert(
        name="MeshTargetDown",
        terms=(Term(selector("up", mesh.mesh), "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} cannot be scraped",
        description="Prometheus gets no metrics from {{ $labels.instance }}, so nothing is known of it.",
        runbook="A dead proxy is withdrawn from discovery within seconds, so this one is alive for xds_server and "
        "not for Prometheus: a firewall, a full queue, or a scrape above `sample_limit` (*Status, Targets* in "
        "Prometheus says which). All sidecars of another host at once: telemetry there, which passes their metrics on.",
        cases=(
            Case(
                "not scraped for ten minutes",
                [Series("up", proxy, "1x9 0x9 1x20")],
                [*silent(11), fires(13, Firing(proxy, "0")), *silent(20)],
            ),
            Case("withdrawn from discovery", [Series("up", proxy, "1x9 stale")], silent(15)),
            Case("no data", [], silent(15)),
            Case("of another mesh", [Series("up", {**proxy, MESH: "another"}, "0x30")], silent(15)),
        ),
    )


def metrics_absent(mesh: Mesh) -> Alert:
    """Return the alert on a service that runs and is not measured: no series at all, unlike no requests.

    A vanished series makes every other alert silent, not red.
    """
    service, proxy = a_service(mesh), a_proxy(mesh)
    counted = {**proxy, PREFIX: names.INBOUND}
    bytes_alone = Series(SERVICE_INFO, {**service, "protocol": "tcp"}, "1x80")
    listed = f"group by ({BY_SERVICE}) ({selector(SERVICE_INFO, mesh.mesh, _COUNTED)})"
    seen = f"count by ({BY_SERVICE}) ({arriving(RQ_XX, mesh.mesh)})"
    info, healthy = Series(SERVICE_INFO, service, "1x80"), Series(INSTANCE_HEALTHY, proxy, "1x80")
    return Alert(
        name="MeshMetricsAbsent",
        terms=(Term(f"{seen} or 0 * {listed}", "== 0"), Term(selector(HEALTHY, mesh.mesh), "> 0")),
        on=EACH_SERVICE,
        severity="ticket",
        hold=timedelta(minutes=10),
        summary="{{ $labels.service }} has instances but no request metrics",
        description="Instances of {{ $labels.service }} are healthy, yet Prometheus has no request counters of "
        "theirs, so the other alerts of this service cannot fire.",
        runbook="No requests are not the cause: an idle proxy reports zeros. Check that the service's sidecars are "
        "among Prometheus's targets, and relabelling rules.",
        cases=(
            Case(
                "the counters vanish, and come back",
                [info, healthy, requests(counted, "2", "0+60x20 _x25 5000+60x20")],
                [*silent(20), fires(42, Firing(service, "0")), *silent(60)],
            ),
            Case("no requests are no absence", [info, healthy, requests(counted, "2", "0x60")], silent(30)),
            Case("no instance: another alert's matter", [info], silent(30)),
            Case("TCP has no requests to count", [bytes_alone, healthy], silent(30)),
        ),
    )


def registry_unreachable(mesh: Mesh) -> Alert:
    """Return the alert on a telemetry that works from an old list of instances."""
    labels = {MESH: mesh.mesh}
    return Alert(
        name="MeshRegistryUnreachable",
        terms=(Term(f"min by ({MESH}) ({selector(WATCH_CONNECTED, mesh.mesh)})", "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="telemetry cannot reach xds_server",
        description="The targets of mesh {{ $labels.mesh }} are those of the last contact: new instances are not "
        "measured, and gone ones show as down.",
        runbook="Start or reach xds_server again; telemetry finds it by itself.",
        dashboard="health",
        cases=(
            Case(
                "one of the watches is broken for ten minutes",
                [
                    Series(WATCH_CONNECTED, {**labels, "watch": "instances"}, "1x9 0x9 1x20"),
                    Series(WATCH_CONNECTED, {**labels, "watch": "mesh"}, "1x40"),
                ],
                [*silent(11), fires(13, Firing(labels, "0")), *silent(20)],
            ),
            Case("connected", [Series(WATCH_CONNECTED, {**labels, "watch": "mesh"}, "1x40")], silent(15, 30)),
            Case("no data", [], silent(15)),
        ),
    )


def telemetry_down(mesh: Mesh) -> Alert:
    """Return the alert on telemetry itself; without its inventory two other alerts are blind."""
    service = a_service(mesh)
    fired = Firing({MESH: mesh.mesh})
    return Alert(
        name="MeshTelemetryDown",
        terms=(Term(selector(SERVICE_INFO, mesh.mesh)),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="telemetry of mesh {{ $labels.mesh }} is not measured",
        description="Prometheus has no list of the services of mesh {{ $labels.mesh }}, so missing instances and "
        "missing metrics go unnoticed.",
        runbook="telemetry is down, or not scraped: `legation status` says which. Until it is back, missing "
        "instances and missing metrics go unnoticed.",
        dashboard="health",
        cases=(
            Case(
                "gone for ten minutes",
                [Series(SERVICE_INFO, service, "1x10 stale _x9 1x20")],
                [*silent(10), fires(18, fired), *silent(25)],
            ),
            Case("measured all along", [Series(SERVICE_INFO, service, "1x40")], silent(15, 30)),
            Case("never there", [], [*silent(4), fires(6, fired)]),
        ),
    )
