"""What types cannot see in `telemetry_only`: two that Prometheus could not tell apart."""

from collections.abc import Iterator

from legation.mesh.model.mesh import Mesh
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path


def telemetry_violations(mesh: Mesh) -> Iterator[RuleViolation]:
    """Yield Envoys that are named twice, by where they are or by what they are called."""
    first: dict[tuple[str, str], Path] = {}
    for name, service in mesh.services.items():
        for index, one in enumerate(service.telemetry_only):
            path: Path = ("services", name, "telemetry_only", index)
            for what, value in (("is at", f"{one.address}:{one.port}"), ("is called", one.id(name))):
                earlier = first.setdefault((what, value), path)
                if earlier != path:
                    message = f"another Envoy {what} {value}: each has an address and an id of its own"
                    yield RuleViolation(path, message, (path, earlier))
