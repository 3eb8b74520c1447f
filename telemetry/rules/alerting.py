"""All alerts of a mesh. A new one is one value in one file of `telemetry.rules.alerts`, and nothing else."""

from legation.mesh.model.mesh import Mesh
from telemetry.rules.alerts import (
    availability,
    budget,
    capacity,
    certificates,
    components,
    configuration,
    measurement,
    records,
    traffic,
)
from telemetry.rules.rule import Alert, Group

_FILES = {
    "budget": budget.alerts,
    "availability": availability.alerts,
    "certificates": certificates.alerts,
    "configuration": configuration.alerts,
    "traffic": traffic.alerts,
    "capacity": capacity.alerts,
    "components": components.alerts,
    "measurement": measurement.alerts,
    "records": records.alerts,
}


def alert_groups(mesh: Mesh) -> tuple[Group, ...]:
    """Return the alerts of a mesh, a group a file."""
    return tuple(Group(f"{mesh.mesh}-{name}", found) for name, alerts in _FILES.items() if (found := alerts(mesh)))


def alerts(mesh: Mesh) -> tuple[Alert, ...]:
    """Return every alert of a mesh."""
    return tuple(rule for group in alert_groups(mesh) for rule in group.rules if isinstance(rule, Alert))
