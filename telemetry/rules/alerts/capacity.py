"""Where autoscaling cannot do what it is for: it sees nothing, or may add nothing."""

from datetime import timedelta

from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels
from telemetry.rules.conventions import BLIND, DESIRED, MESH, MOST, RATIO, SERVICE, VERSION, selector
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent

BY_VERSION = f"{MESH}, {SERVICE}, {VERSION}"


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group; none where nothing follows the load."""
    scaled = [name for name, service in mesh.services.items() if service.autoscale is not None]
    return (blind(mesh, scaled[0]), at_maximum(mesh, scaled[0])) if scaled else ()


def _version(mesh: Mesh, service: str) -> Labels:
    return {MESH: mesh.mesh, SERVICE: service, VERSION: "v1"}


def blind(mesh: Mesh, service: str) -> Alert:
    """Return the alert on a policy whose metrics are not known."""
    of = _version(mesh, service)
    return Alert(
        name="MeshAutoscaleBlind",
        terms=(Term(f"max by ({BY_VERSION}) ({selector(BLIND, mesh.mesh)})", "== 1"),),
        severity="ticket",
        hold=timedelta(minutes=5),
        summary="the load of {{ $labels.service }} is not known",
        description="Autoscaling of {{ $labels.service }} {{ $labels.version }} lacks a metric: none of its instances "
        "is taken away, and none is added for what cannot be seen.",
        runbook="`legation status` says which metric is missing, and why: a Prometheus that does not answer, "
        "proxies that are not scraped, a host runner that is away. Instances stay as they are meanwhile.",
        dashboard="autoscaling",
        cases=(
            Case(
                "not known for ten minutes",
                [Series(BLIND, of, "0x9 1x9 0x20")],
                [*silent(14), fires(16, Firing(of, "1")), *silent(25)],
            ),
            Case("a moment, as at each start", [Series(BLIND, of, "0x9 1x2 0x20")], silent(12, 16)),
            Case("no data", [], silent(15)),
        ),
    )


def at_maximum(mesh: Mesh, service: str) -> Alert:
    """Return the alert on a load that the most instances do not carry."""
    of = _version(mesh, service)
    desired, most, ratio = (f"max by ({BY_VERSION}) ({selector(name, mesh.mesh)})" for name in (DESIRED, MOST, RATIO))
    load = {**of, "metric": "requests_per_second"}
    full = [Series(DESIRED, of, "5x60"), Series(MOST, of, "5x60")]
    return Alert(
        name="MeshAutoscaleAtMaximum",
        terms=(Term(ratio, "> 1.1"), Term(f"{desired} - {most}", ">= 0")),
        on=(MESH, SERVICE, VERSION),
        severity="ticket",
        hold=timedelta(minutes=15),
        summary="{{ $labels.service }} has as many instances as it may have, and too few",
        description="The load of {{ $labels.service }} {{ $labels.version }} is {{ $value | humanize }} times its "
        "target, and `max` allows no more instances.",
        runbook="Raise `autoscale.max` in mesh.yaml if the host carries more, or the target if each instance does. "
        "Look first whether the load is what it should be: retries of a caller multiply it (dashboard *route*).",
        dashboard="autoscaling",
        cases=(
            Case(
                "twice the load for half an hour",
                [*full, Series(RATIO, load, "1x9 2x29 1x20")],
                [*silent(20), fires(30, Firing(of, "2")), *silent(45)],
            ),
            Case("as many as it may have, and enough", [*full, Series(RATIO, load, "1x60")], silent(30)),
            Case(
                "more may come",
                [Series(DESIRED, of, "4x60"), Series(MOST, of, "5x60"), Series(RATIO, load, "2x60")],
                silent(30),
            ),
            Case("no data", [], silent(30)),
        ),
    )
