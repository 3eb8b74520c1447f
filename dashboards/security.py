"""The dashboard of who may speak to whom: certificates, handshakes, access control."""

from dashboards.panels import YES, Panel, Query, Row
from dashboards.parts import GOOD, WINDOW, label, life_steps, lines, or_none, stat, to_service
from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts.components import VAULT_UP
from telemetry.rules.alerts.traffic import HANDSHAKES
from telemetry.rules.conventions import (
    BLOCKED,
    CERTIFICATE,
    EXPIRY,
    INSTANCE,
    NO_ROUTE,
    PREFIX,
    RBAC_DENIED,
    SERVICE,
    inbound,
    selector,
)

OUTAGE = "certmgr_seconds_to_outage"
RENEWALS = "certmgr_renewals_total"
SHADOW_DENIED = "envoy_http_rbac_policy_shadow_denied"
PLAINTEXT = "envoy_plaintext_requests"


def rows(mesh: Mesh) -> tuple[Row, ...]:
    """Return all rows."""
    return (Row("Is it well?", status(mesh)), Row("Who is turned away", denied(mesh)), Row("Identities", lives(mesh)))


def status(mesh: Mesh) -> tuple[Panel, ...]:
    """Return the line that one looks at first."""
    name = mesh.mesh
    cert, ca = (selector(EXPIRY, name, f'{CERTIFICATE}="{secret}"') for secret in (names.MESH_CERT, names.MESH_CA))
    return (
        stat("First certificate", "Time that the shortest-lived certificate of all proxies still has.", "s",
             f"min({cert})", life_steps(mesh)),
        stat("Trust bundle", "Time that the CA which the proxies trust still has. A new one needs days to spread.", "s",
             f"min({ca})"),
        stat("Vault", "Whether certmgr reaches Vault and finds it unsealed. If not, no certificate is renewed.", YES,
             f"min({selector(VAULT_UP, name)})", GOOD),
        stat("Time to outage", "Time until the first certificate in use expires, if nothing is renewed any more.", "s",
             f"min({selector(OUTAGE, name)})", life_steps(mesh)),
    )  # fmt: skip


def denied(mesh: Mesh) -> tuple[Panel, ...]:
    """Return what is refused, and why."""
    name = mesh.mesh
    blocked = selector(NO_ROUTE, name, f'{PREFIX}=~"{BLOCKED}"')
    refused = f"sum by ({SERVICE}) (rate({inbound(RBAC_DENIED, name)}{WINDOW}))"
    return (
        Panel(
            "Denied by access control",
            "Requests a second that were answered with 403: the caller has not this service in its calls, or not this "
            "method or path.",
            "reqps",
            (Query(refused, label(SERVICE)),),
            links=(to_service(name),),
        ),
        Panel(
            "Blocked destinations",
            "Requests a second of each service's own apps to servers that mesh.yaml does not name. Where to is in the "
            "access log: status 403, flags NR.",
            "reqps",
            (Query(f"sum by ({SERVICE}) (rate({blocked}{WINDOW}))", label(SERVICE)),),
        ),
        lines(
            "Failed handshakes",
            "Connections a second that proxies turned away, by reason. Plain text may be a scan; no certificate is "
            "somebody who calls past their sidecar; unknown or expired is a proxy that was not renewed.",
            "ops",
            *(
                (f"sum(rate({selector(f'envoy_listener_ssl_{kind}', name)}{WINDOW}))", what)
                for kind, what in HANDSHAKES.items()
            ),
        ),
        lines(
            "Failed handshakes by service",
            "Connections a second that each service's proxies turned away, all reasons together.",
            "ops",
            (
                " + ".join(
                    f"sum by ({SERVICE}) (rate({selector(f'envoy_listener_ssl_{kind}', name)}{WINDOW}))"
                    for kind in HANDSHAKES
                ),
                label(SERVICE),
            ),
        ),
        *([_shadow(name)] if any(service.access.mode == "shadow" for service in mesh.services.values()) else []),
        *([_plain(name)] if any(mesh.is_permissive(service) for service in mesh.services) else []),
    )


def _shadow(mesh: str) -> Panel:
    counted = f"sum by ({SERVICE}, envoy_rbac_policy_name) (rate({inbound(SHADOW_DENIED, mesh)}{WINDOW}))"
    return lines(
        "Would be denied",
        "Requests a second that access control would deny if it were enforced (`access: {mode: shadow}`), by the "
        "caller that they come from. At 0 for long enough, enforce it.",
        "reqps",
        (or_none(counted, SERVICE, mesh), f"{label(SERVICE)} {label('envoy_rbac_policy_name')}"),
    )


def _plain(mesh: str) -> Panel:
    counted = f"sum by ({SERVICE}) (rate({selector(PLAINTEXT, mesh)}{WINDOW}))"
    return lines(
        "In plain text",
        "Requests or connections a second that came without TLS, as `mtls: permissive` allows. docs/metrics.md tells "
        "how to see from whom. At 0 for long enough, make it strict.",
        "ops",
        (or_none(counted, SERVICE, mesh), label(SERVICE)),
    )


def lives(mesh: Mesh) -> tuple[Panel, ...]:
    """Return certificates over time, and their renewals."""
    name = mesh.mesh
    cert = selector(EXPIRY, name, f'{CERTIFICATE}="{names.MESH_CERT}"')
    return (
        lines(
            "Certificates by service",
            "Time that the shortest-lived certificate of each service has. A saw-tooth is healthy.",
            "s",
            (f"min by ({SERVICE}) ({cert})", label(SERVICE)),
        ),
        Panel(
            "The first to expire",
            "Proxies whose certificate has the least time left.",
            "s",
            (Query(f"sort(bottomk(6, min by ({SERVICE}, {INSTANCE}) ({cert})))", "left", "s", life_steps(mesh)),),
            kind="table",
        ),
        lines(
            "Renewals",
            "Certificates that certmgr issued or failed to issue, in an hour. Failures are tried again: see its log.",
            "short",
            (
                or_none(f"sum by (outcome) (increase({selector(RENEWALS, name)}[1h]))", "outcome", name),
                label("outcome"),
            ),
        ),
    )
