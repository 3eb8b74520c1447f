"""Proxies that do not have, or do not take, what xds_server tells them."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels, a_proxy
from telemetry.rules.conventions import (
    CHANGE,
    CLUSTER,
    CONTROL_STREAMS,
    INSTANCE,
    INSTANCE_ID,
    INSTANCE_REJECTS,
    INSTANCE_SYNCED,
    MESH,
    selector,
)
from telemetry.rules.recording import BY_INSTANCE
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent

XDS = f'{CLUSTER}="{names.own_stat_name(names.XDS_CLUSTER)}"'
CHANGED = (
    "orders v1: 1 started, 1970-01-01 00:09:00 +0000 UTC. "
    "mesh.yaml 12ab: orders changed (by ann), 1970-01-01 00:08:00 +0000 UTC. "
)
WARMING = {
    "clusters": "envoy_cluster_manager_warming_clusters",
    "listeners": "envoy_listener_manager_total_listeners_warming",
}


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group."""
    return (control_plane_disconnected(mesh), config_rejected(mesh), not_synced(mesh), warming(mesh))


def by_instance(expr: str) -> str:
    """Name the instance that telemetry speaks of as every other series names it."""
    return f'max by ({BY_INSTANCE}) (label_replace({expr}, "{INSTANCE}", "$1", "{INSTANCE_ID}", "(.+)"))'


def told(mesh: Mesh) -> Labels:
    """Return the labels of what telemetry says of an instance, as Prometheus scrapes it."""
    proxy = a_proxy(mesh)
    return {**proxy, INSTANCE: "telemetry", INSTANCE_ID: proxy[INSTANCE]}


def control_plane_disconnected(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that hears nothing of xds_server, be that dead, hung or out of reach."""
    proxy = a_proxy(mesh)
    streams = Series(CONTROL_STREAMS, {**proxy, CLUSTER: names.own_stat_name(names.XDS_CLUSTER)}, "2x9 0x9 2x20")
    return Alert(
        name="MeshControlPlaneDisconnected",
        terms=(Term(f"min by ({BY_INSTANCE}) ({selector(CONTROL_STREAMS, mesh.mesh, XDS)})", "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} is not connected to xds_server",
        description="The proxy of {{ $labels.instance }} serves on with what it was last told, and misses changes "
        "of instances and of mesh.yaml.",
        runbook="All proxies: xds_server is down or hangs; `legation status` says which, and since when. One proxy: "
        "its network, or its certificate. It is back by itself within two seconds of an xds_server that answers.",
        dashboard="control",
        cases=(
            Case("away for ten minutes", [streams], [*silent(11), fires(13, Firing(proxy, "0")), *silent(20)]),
            Case("connected", [Series(CONTROL_STREAMS, streams.labels, "2x30")], silent(15)),
            Case(
                "the app's own requests are no stream",
                [Series(CONTROL_STREAMS, {**proxy, CLUSTER: names.own_stat_name(names.LOCAL_APP)}, "0x30")],
                silent(15),
            ),
            Case("no data", [], silent(15)),
        ),
    )


def config_rejected(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that rejects (NACKs) what it is sent, for as long as it does."""
    proxy = a_proxy(mesh)
    return Alert(
        name="MeshConfigRejected",
        terms=(Term(by_instance(selector(INSTANCE_REJECTS, mesh.mesh)), "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=1),
        summary="{{ $labels.instance }} rejects its configuration",
        description="The proxy of {{ $labels.instance }} rejects {{ $value }} of the types of resources that it is "
        "sent, and keeps the last good ones. What else changes in the mesh does not reach it.",
        runbook="`legation status` has Envoy's own words, and the line of mesh.yaml that they are about. Take that "
        "change back, or correct it: the alert ends when the proxy has ACKed.",
        dashboard="proxy",
        cases=(
            Case(
                "rejected for ten minutes",
                [Series(INSTANCE_REJECTS, told(mesh), "0x9 1x9 0x20")],
                [*silent(9), fires(15, Firing(proxy, "1")), *silent(25)],
            ),
            Case(
                "after a change",
                [
                    Series(INSTANCE_REJECTS, told(mesh), "0x9 1x9 0x20"),
                    Series(
                        CHANGE, {MESH: mesh.mesh, "what": "mesh.yaml 12ab: orders changed", "by": "ann"}, "_x8 480x30"
                    ),
                    Series(CHANGE, {MESH: mesh.mesh, "what": "orders v1: 1 started"}, "_x9 540x30"),
                ],
                [fires(15, Firing(proxy, "1", CHANGED))],
            ),
            Case("nothing is rejected", [Series(INSTANCE_REJECTS, told(mesh), "0x30")], silent(15)),
            Case("no data", [], silent(15)),
        ),
    )


def not_synced(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that does not answer what it is sent."""
    proxy = a_proxy(mesh)
    return Alert(
        name="MeshInstanceNotSynced",
        terms=(Term(by_instance(selector(INSTANCE_SYNCED, mesh.mesh)), "== 0"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="{{ $labels.instance }} has not followed the mesh for five minutes",
        description="The proxy of {{ $labels.instance }} has not ACKed what xds_server last sent it, so it works from "
        "an older state of the mesh.",
        runbook="`legation status` says whether it rejects it, is disconnected, or is silent. A silent one is stuck: "
        "its log is in the state folder under `instances/`; end its `legation run`, and a successor takes its place.",
        dashboard="proxy",
        cases=(
            Case(
                "silent for fifteen minutes",
                [Series(INSTANCE_SYNCED, told(mesh), "1x9 0x14 1x20")],
                [*silent(12), fires(20, Firing(proxy, "0")), *silent(30)],
            ),
            Case("a change takes a minute", [Series(INSTANCE_SYNCED, told(mesh), "1x9 0 1x20")], silent(11, 16)),
            Case("no data", [], silent(15)),
        ),
    )


def warming(mesh: Mesh) -> Alert:
    """Return the alert on a proxy that waits for endpoints or secrets before it uses what it has."""
    proxy = a_proxy(mesh)
    waiting = " + ".join(f"sum by ({BY_INSTANCE}) ({selector(metric, mesh.mesh)})" for metric in WARMING.values())
    listeners = Series(WARMING["listeners"], proxy, "0x60")
    return Alert(
        name="MeshProxyWarming",
        terms=(Term(waiting, "> 0"),),
        severity="ticket",
        hold=timedelta(minutes=2),
        summary="{{ $labels.instance }} waits for part of its configuration",
        description="{{ $value }} clusters or listeners of {{ $labels.instance }} have been warming for two minutes: "
        "they lack their endpoints or their certificate, and the older ones serve on.",
        runbook="A certificate that certmgr does not serve is the usual cause: see certmgr's log, and "
        "`legation status`. Endpoints come from xds_server: see *Control plane*.",
        dashboard="proxy",
        cases=(
            Case(
                "two clusters warm for ten minutes",
                [Series(WARMING["clusters"], proxy, "0x9 2x9 0x20"), listeners],
                [*silent(9), fires(15, Firing(proxy, "2")), *silent(25)],
            ),
            Case("a minute at its start", [Series(WARMING["clusters"], proxy, "3 0x30"), listeners], silent(1, 5)),
            Case("no data", [], silent(15)),
        ),
    )
