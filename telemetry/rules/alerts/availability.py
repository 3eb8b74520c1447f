"""What callers feel, where there is no objective to measure it by."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import EACH_SERVICE, a_proxy, a_service, called, requests
from telemetry.rules.conventions import (
    ERROR_RATIO,
    ERRORS,
    HEALTHY,
    INSTANCE,
    INSTANCE_HEALTHY,
    MESH,
    PREFIX,
    SERVICE,
    SERVICE_INFO,
    selector,
)
from telemetry.rules.edges import called_services
from telemetry.rules.objectives import objectives
from telemetry.rules.rule import Alert, Term
from telemetry.rules.story import Case, Firing, Series, fires, silent

MOST_ERRORS = 0.05
"""The share of failed requests above which somebody is woken, until a service has an objective of its own."""

FEWEST_ERRORS = 10
"""Failed requests in five minutes below which the share says nothing: one of two is 50 %."""


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group."""
    promised = {service for service, objective in objectives(mesh) if objective == "availability"}
    unpromised = [name for name in called_services(mesh) if name not in promised]
    return (*([high_error_ratio(mesh, unpromised)] if unpromised else []), no_healthy_instance(mesh))


def high_error_ratio(mesh: Mesh, services: list[str]) -> Alert:
    """Return the alert on too many failed requests, silent where there are too few to tell."""
    chosen = f'{SERVICE}=~"{"|".join(services)}"'
    service = services[0]
    caller = called(mesh, service)
    own = {MESH: mesh.mesh, SERVICE: service, INSTANCE: "sick", PREFIX: names.INBOUND}
    fired = Firing({MESH: mesh.mesh, SERVICE: service}, "50%")
    return Alert(
        name="MeshHighErrorRatio",
        terms=(
            Term(selector(ERROR_RATIO, mesh.mesh, chosen), f"> {MOST_ERRORS}"),
            Term(f"{selector(ERRORS, mesh.mesh, chosen)} * 300", f">= {FEWEST_ERRORS}"),
        ),
        on=EACH_SERVICE,
        severity="page",
        hold=timedelta(minutes=2),
        summary="{{ $labels.service }} fails {{ $value | humanizePercentage }} of its requests",
        description="More than 5% of the requests to {{ $labels.service }} in the last five minutes failed for their "
        "callers, after all retries, and they were ten or more.",
        runbook="*Who gets failures* on the dashboard says which callers, *What it calls* whether a dependency fails "
        "as well: begin there. Else compare versions and instances: one that stands out is to be withdrawn, or its "
        "release taken back by the route's `split`. Give the service an `slo` in mesh.yaml, and it pages by that.",
        cases=(
            Case(
                "half of all requests fail, for 15 minutes",
                [
                    requests(caller, "2", "0+600x20 12300+300x14 17100+600x30"),
                    requests(caller, "5", "0+0x20 300+300x14 4500+0x30"),
                ],
                [*silent(20), fires(28, fired), *silent(45)],
            ),
            Case(
                "one in fifty fails",
                [requests(caller, "2", "0+588x30"), requests(caller, "5", "0+12x30")],
                silent(15, 30),
            ),
            Case(
                "half of all attempts fail, and each is answered when tried again",
                [
                    requests(caller, "2", "0+600x30"),
                    requests(caller, "5", "0x30"),
                    requests(own, "2", "0+600x30"),
                    requests(own, "5", "0+600x30"),
                ],
                silent(15, 30),
            ),
            Case(
                "little traffic: one failure of a few requests",
                [requests(caller, "2", "0+1x30"), requests(caller, "5", "0x10 1x20")],
                silent(13, 15),
            ),
            Case("no data", [], silent(15)),
        ),
    )


def no_healthy_instance(mesh: Mesh) -> Alert:
    """Return the alert on a service that can answer nothing."""
    service, proxy = a_service(mesh), a_proxy(mesh)
    info = Series(SERVICE_INFO, service, "1x40")
    fired = fires(15, Firing(service, "0"))
    return Alert(
        name="MeshNoHealthyInstance",
        terms=(Term(selector(HEALTHY, mesh.mesh), "== 0"),),
        severity="page",
        hold=timedelta(minutes=1),
        summary="{{ $labels.service }} has no healthy instance",
        description="No instance of {{ $labels.service }} is registered, ready and healthy, so every call of it fails.",
        runbook="`legation status` says of each instance what is wrong with it. When the health check is at fault "
        "and not the app, correct `health_check` in mesh.yaml.",
        cases=(
            Case(
                "the only instance is unhealthy for ten minutes",
                [info, Series(INSTANCE_HEALTHY, proxy, "1x9 0x9 1x20")],
                [*silent(9), fired, *silent(25)],
            ),
            Case(
                "one of two is unhealthy",
                [
                    info,
                    Series(INSTANCE_HEALTHY, {**proxy, INSTANCE: "another"}, "1x40"),
                    Series(INSTANCE_HEALTHY, proxy, "0x40"),
                ],
                silent(15),
            ),
            Case("no instance was ever there", [info], [fired]),
            Case("no data", [], silent(15)),
        ),
    )
