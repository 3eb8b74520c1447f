"""One broken rule of a mesh, before it has its place in the file."""

from dataclasses import dataclass

from legation.mesh.errors import Violation
from legation.mesh.source import Path, SourcedMesh
from legation.mesh.wording import dotted


@dataclass(frozen=True, slots=True)
class RuleViolation:
    """A broken rule: at which path, and on which parts of the mesh the rule looked (`rests_on`).

    Where one of those parts is rejected by itself, the violation only follows from that, and is dropped.
    """

    path: Path
    message: str
    rests_on: tuple[Path, ...]
    at_key: bool = False

    def violation(self, sourced: SourcedMesh) -> Violation:
        """Return it with its place in the file."""
        position = sourced.key(*self.path) if self.at_key else sourced.position(*self.path)
        return Violation(position, dotted(self.path), self.message)
