"""What types cannot see in `logging`: a CA that nobody looks at."""

from collections.abc import Iterator

from legation.mesh.model.mesh import Mesh
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path


def logging_violations(mesh: Mesh) -> Iterator[RuleViolation]:
    """Yield every broken rule of logging."""
    asked = mesh.logging.otlp
    if asked is not None and asked.ca is not None and asked.url.startswith("http://"):
        ca: Path = ("logging", "otlp", "ca")
        yield RuleViolation(ca, "not looked at without TLS: write an https:// url, or leave it out", (ca,), at_key=True)
