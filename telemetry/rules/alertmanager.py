"""A mesh to an Alertmanager configuration: one cause, one notification (Prometheus documentation, "Alertmanager").

Alerts are grouped by what they are about, and what follows from another alert is held back while that fires.
"""

from dataclasses import dataclass
from typing import Any

from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerting import alerts
from telemetry.rules.conventions import INSTANCE, MESH, SERVICE


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While `cause` fires, `effects` that are equal in `by` are not told of."""

    cause: str
    effects: tuple[str, ...]
    by: tuple[str, ...]


_BURNS = tuple(f"MeshErrorBudgetBurn{window}" for window in ("1h", "6h", "1d", "3d"))
_PROXY = ("MeshControlPlaneDisconnected", "MeshInstanceNotSynced", "MeshConfigRejected", "MeshProxyWarming")
INHIBITIONS = (
    # A page says what a ticket about the same service would.
    *(Inhibition(faster, _BURNS[index + 1 :], (MESH, SERVICE)) for index, faster in enumerate(_BURNS[:-1])),
    Inhibition("MeshNoHealthyInstance", (*_BURNS, "MeshHighErrorRatio", "MeshMetricsAbsent"), (MESH, SERVICE)),
    # A Vault that signs nothing makes certificates old; xds_server that is away makes proxies old.
    Inhibition("MeshVaultDown", ("MeshCertificateExpiresSoon",), (MESH,)),
    Inhibition("MeshCertificateAboutToExpire", ("MeshCertificateExpiresSoon",), (MESH, SERVICE, INSTANCE)),
    Inhibition("MeshRegistryUnreachable", (*_PROXY, "MeshComponentRestarts"), (MESH,)),
    # What is not measured is told of once, not by each alert that it blinds or sets off.
    Inhibition("MeshTargetDown", ("MeshProxyWarming", "MeshControlPlaneDisconnected"), (MESH, INSTANCE)),
    Inhibition(
        "MeshTelemetryDown",
        ("MeshRegistryUnreachable", "MeshInstanceNotSynced", "MeshMetricsAbsent", "MeshProxyLogsDropped"),
        (MESH,),
    ),
)


def alertmanager(mesh: Mesh) -> dict[str, Any]:
    """Return the configuration; its two receivers are for the team to fill in."""
    fired = {alert.name for alert in alerts(mesh)}
    return {
        "route": {
            "receiver": "tickets",
            "group_by": [MESH, SERVICE],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "12h",
            "routes": [{"matchers": ['severity="page"'], "receiver": "pages", "repeat_interval": "1h"}],
        },
        "receivers": [{"name": "pages"}, {"name": "tickets"}],
        "inhibit_rules": [_rule(mesh, one, fired) for one in INHIBITIONS if one.cause in fired],
    }


def _rule(mesh: Mesh, one: Inhibition, fired: set[str]) -> dict[str, Any]:
    effects = "|".join(name for name in one.effects if name in fired)
    own = f'{MESH}="{mesh.mesh}"'
    return {
        "source_matchers": [f'alertname="{one.cause}"', own],
        "target_matchers": [f'alertname=~"{effects}"', own],
        "equal": list(one.by),
    }
