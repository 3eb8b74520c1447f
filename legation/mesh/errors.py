"""What can be wrong with a mesh file.

MeshError
└── InvalidMesh     one or more violations, each with file, line, column and path
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file of the operator's: 1-based line and column, as editors count."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Return ``file:line:column``."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One thing that is wrong: where, at which path, and what would be accepted."""

    position: Position
    path: str
    message: str

    def __str__(self) -> str:
        """Return ``file:line:column: path: message`` (no path at the top of the file)."""
        return f"{self.position}: {self.path}: {self.message}" if self.path else f"{self.position}: {self.message}"


class MeshError(Exception):
    """Root of the errors about what the operator wrote."""


class InvalidMesh(MeshError):
    """A mesh with violations; `violations` holds all of them, in the order of the file."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        """Keep the violations, sorted by position."""
        self.violations = tuple(sorted(violations))
        super().__init__(self.violations)

    def __str__(self) -> str:
        """Return one line a violation."""
        return "\n".join(str(violation) for violation in self.violations)
