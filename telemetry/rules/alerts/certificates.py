"""Certificates that are not renewed."""

from datetime import timedelta

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.sample import Labels, a_proxy
from telemetry.rules.conventions import CERTIFICATE, EXPIRY, LISTENER_EXPIRY, selector
from telemetry.rules.rule import Alert, Severity, Term
from telemetry.rules.story import Case, Firing, Moment, Series, duration

TICKET_LIFE, PAGE_LIFE = 3, 6
"""Parts of a certificate's life. Renewal is due at half of it: a third left means that it failed for a while."""

SOON = (
    "It should have been renewed at half of its life: read certmgr's log and `certmgr_vault_up`. Most often Vault is "
    "sealed or unreachable, or certmgr's token may no longer sign."
)
NOW = (
    "When it expires, new connections fail; those that are open serve on for a while, which hides the outage. "
    "Mend Vault or certmgr now: renewal follows within seconds by itself."
)


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return the alerts of this group."""
    return (
        certificate("MeshCertificateExpiresSoon", mesh, TICKET_LIFE, "ticket", SOON),
        certificate("MeshCertificateAboutToExpire", mesh, PAGE_LIFE, "page", NOW),
    )


def certificate(name: str, mesh: Mesh, part: int, severity: Severity, runbook: str) -> Alert:
    """Return an alert on a proxy whose own certificate has less than that part of its life left."""
    expiry = selector(EXPIRY, mesh.mesh, f'{CERTIFICATE}="{names.MESH_CERT}"')
    left = mesh.certificates.ttl / part
    return Alert(
        name=name,
        terms=(Term(expiry, f"< {left.total_seconds():g}"),),
        severity=severity,
        summary="the certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}",
        description="Certificates are renewed at half of their life, so renewal for {{ $labels.instance }} has "
        "failed for a while. A negative time means that it has expired: new connections fail, old ones still serve.",
        runbook=runbook,
        cases=_cases(a_proxy(mesh), int(mesh.certificates.ttl.total_seconds()), left.total_seconds()),
    )


def _cases(proxy: Labels, life: int, limit: float) -> tuple[Case, ...]:
    """Return what becomes of a certificate issued at 0 for `life` seconds: renewed at half of it, too late, never.

    A step is a sixtieth of its life, so that the story is the same for a minute and for a day.
    """
    step = max(1, life // 60)
    steps, late = 2 * life // step, int((life - limit / 2) // step)
    own = {**proxy, CERTIFICATE: names.MESH_CERT}
    left, gone = Firing(own, duration(life - late * step)), Firing(own, duration(life - (life // step + 2) * step))

    def at(number: int) -> timedelta:
        return timedelta(seconds=number * step)

    def story(name: str, labels: Labels, values: str, *moments: Moment) -> Case:
        return Case(name, [Series(LISTENER_EXPIRY, labels, values)], moments, timedelta(seconds=step))

    return (
        story(
            "renewed in time",
            own,
            f"{life}x{steps // 4} {2 * life}x{steps}",
            *(Moment(at(number)) for number in (late, steps // 2)),
        ),
        story(
            "renewed too late",
            own,
            f"{life}x{late} {2 * life}x{steps}",
            Moment(at(steps // 4)),
            Moment(at(late), (left,)),
            Moment(at(late + 3)),
        ),
        story("expired", own, f"{life}x{steps}", Moment(at(life // step + 2), (gone,))),
        story(
            "the trust bundle is not the certificate",
            {**own, CERTIFICATE: names.MESH_CA},
            f"{life}x{steps}",
            Moment(at(late)),
        ),
        Case("no data", [], [Moment(at(late))], timedelta(seconds=step)),
    )
