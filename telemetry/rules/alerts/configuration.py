"""Proxies that do not have, or do not take, what xds_server tells them."""

from datetime import timedelta

from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import a_proxy
from telemetry.rules.conventions import CONNECTED, REFUSED, REJECTED, selector
from telemetry.rules.recording import BY_INSTANCE
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group."""
    return (control_plane_disconnected(mesh), config_refused(mesh))


def control_plane_disconnected(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that hears nothing of xds_server."""
    proxy = a_proxy(mesh)
    return Alert(
        name="MeshControlPlaneDisconnected",
        terms=(Term(f"min by ({BY_INSTANCE}) ({selector(CONNECTED, mesh.mesh)})", "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} is not connected to xds_server",
        description="The proxy of {{ $labels.instance }} serves on with what it was last told, and misses changes "
        "of instances and of mesh.yaml.",
        runbook="It misses new instances, withdrawn ones and changes of mesh.yaml. All proxies: xds_server is down. "
        "One: its network, or its certificate.",
        cases=(
            Case(
                "away for ten minutes",
                [Series(CONNECTED, proxy, "1x9 0x9 1x20")],
                [*silent(11), fires(13, Firing(proxy, "0")), *silent(20)],
            ),
            Case("connected", [Series(CONNECTED, proxy, "1x30")], silent(15)),
            Case("no data", [], silent(15)),
        ),
    )


def config_refused(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that refused (NACKed) what it was sent."""
    proxy = a_proxy(mesh)
    return Alert(
        name="MeshConfigRefused",
        terms=(Term(selector(REFUSED, mesh.mesh), "> 0"),),
        severity="ticket",
        summary="{{ $labels.instance }} refused configuration ({{ $labels.type }})",
        description="The proxy of {{ $labels.instance }} refused an update of type {{ $labels.type }} in the last "
        "ten minutes and keeps the last good one.",
        runbook="The label `type` says of what kind: clusters (`cds`), endpoints (`eds`), listeners (`lds`), routes "
        "(`rds`) or secrets (`sds`). `legation status` and xds_server's log have Envoy's own words.",
        cases=(
            Case(
                "one listener refused",
                [Series(REJECTED["lds"], proxy, "0x9 1x40"), Series(REJECTED["cds"], proxy, "0x40")],
                [*silent(9), fires(15, Firing({**proxy, "type": "lds"}, "1")), *silent(25)],
            ),
            Case("nothing refused", [Series(REJECTED[kind], proxy, "0x30") for kind in REJECTED], silent(15)),
            Case("no data", [], silent(15)),
        ),
    )
