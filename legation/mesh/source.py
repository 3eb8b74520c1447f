"""A mesh together with where each part of it was written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from legation.mesh.errors import Position
from legation.mesh.model.mesh import Mesh

Path = tuple[str | int, ...]
"""Keys and indices from the top of mesh.yaml: ``("services", "orders", "routes", 0)``."""


@dataclass(frozen=True, slots=True)
class SourcedMesh:
    """A mesh that was read from `text`, the content of `file`.

    `positions` says where each value stands: a scalar where it is written, a mapping or a list
    at its key, an entry of a list where it begins. `keys` says where each key stands.
    """

    mesh: Mesh
    file: str
    text: str = field(repr=False)
    positions: Mapping[Path, Position] = field(repr=False)
    keys: Mapping[Path, Position] = field(repr=False, default_factory=dict)

    def position(self, *path: str | int) -> Position:
        """Return where a path stands, or the nearest part around it that the file has."""
        return nearest(self.positions, path, self.file)

    def key(self, *path: str | int) -> Position:
        """Return where the last key of a path stands, or the nearest part around it that the file has."""
        return self.keys.get(path) or self.position(*path)

    @property
    def version(self) -> str:
        """The hash of the text: equal text, equal version, on every replica."""
        return blake2b(self.text.encode(), digest_size=8).hexdigest()


def nearest(positions: Mapping[Path, Position], path: Path, file: str) -> Position:
    """Return the position of a path, of the nearest part around it, or the start of the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in positions:
            return positions[path[:length]]
    return Position(file, 1, 1)
