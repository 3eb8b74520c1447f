"""What types cannot see in `tracing`: shares that nobody looks at."""

from collections.abc import Iterator

from legation.mesh.model.mesh import Mesh
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path


def tracing_violations(mesh: Mesh) -> Iterator[RuleViolation]:
    """Yield every broken rule of tracing."""
    asked = mesh.tracing
    if asked is not None and asked.otlp.ca is not None and not asked.otlp.tls:
        ca: Path = ("tracing", "otlp", "ca")
        yield RuleViolation(ca, "not looked at without tls: write tls: true, or leave it out", (ca,), at_key=True)
    for name, service in mesh.services.items():
        for index, route in enumerate(service.routes):
            if route.tracing is not None and (why := _in_vain(mesh)):
                path: Path = ("services", name, "routes", index, "tracing")
                yield RuleViolation(path, why, (path, ("tracing",)), at_key=True)


def _in_vain(mesh: Mesh) -> str:
    if mesh.tracing is None:
        return "nothing says where spans go: write tracing at the top of the file too"
    if mesh.tracing.from_outside == "continue":
        return "the client decides, as tracing.from_outside is continue: leave one of both out"
    return ""
