"""YAML text as plain values, each path with its line and column."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from legation.mesh.errors import InvalidMesh, Position, Violation
from legation.mesh.nodes import DEEPEST, Reader, Scalar, YamlMapping, YamlNode, YamlSequence
from legation.mesh.source import Path
from legation.mesh.syntax import events

MOST_REPEATED = 10_000
"""Values that aliases may repeat: a few nested ones stand for billions."""


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file, where they stand (see `SourcedMesh`), how they are spelled, and what is wrong as YAML."""

    file: str
    value: Any
    positions: Mapping[Path, Position]
    keys: Mapping[Path, Position]
    spelled: Mapping[Path, str]
    violations: tuple[Violation, ...]


def read(text: str, file: str) -> Document:
    """Return the values of a YAML text; InvalidMesh when it cannot be read to its end."""
    reader = Reader(events(text, file), file)
    root = reader.document()
    placer = _Placer(file)
    value = None if root is None else placer.plain(root, (), None)
    return Document(file, value, placer.positions, placer.keys, placer.spelled, tuple(reader.violations))


class _Placer:
    """Lays a tree out by path. An alias is laid out again at each place that uses it."""

    def __init__(self, file: str) -> None:
        self.positions: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self.spelled: dict[Path, str] = {}
        self._file = file
        self._seen: set[int] = set()
        self._repeated = 0

    def plain(self, node: YamlNode, path: Path, key: Position | None) -> Any:
        """Return the plain value of a node, and note where it stands."""
        self._limit(node, path)
        written = isinstance(node, Scalar) and (node.text or node.value is not None)
        self.positions[path] = node.at if written or key is None else key
        match node:
            case Scalar(value=value, text=text):
                self.spelled[path] = text
                return value
            case YamlSequence(items=items):
                return [self.plain(item, (*path, i), None) for i, item in enumerate(items)]
            case YamlMapping():
                return {name: self.plain(value, (*path, name), at) for name, at, value in self._named(node, path)}

    def _named(self, node: YamlMapping, path: Path) -> Iterator[tuple[str, Position, YamlNode]]:
        for name, (at, value) in node.entries.items():
            self.keys[(*path, name)] = at
            yield name, at, value

    def _limit(self, node: YamlNode, path: Path) -> None:
        self._repeated += id(node) in self._seen
        self._seen.add(id(node))
        if self._repeated > MOST_REPEATED or len(path) > DEEPEST:
            many = f"aliases repeat more than {MOST_REPEATED} values or go more than {DEEPEST} levels deep"
            raise InvalidMesh([Violation(node.at, "", f"{many}: write less with them")])
