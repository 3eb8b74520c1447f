"""YAML text as plain values, each path with its line and column."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from legation.mesh.errors import InvalidMesh, Position, Violation
from legation.mesh.limits import LONGEST_TEXT
from legation.mesh.nodes import DEEPEST, Reader, Scalar, YamlMapping, YamlNode, YamlSequence
from legation.mesh.quick_syntax import Unclear, quick_events
from legation.mesh.source import Path
from legation.mesh.wording import shown

MOST_REPEATED = 10_000
"""Values that aliases may repeat: a few nested ones stand for billions."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""YAML 1.2 §5.1: all but the printable characters."""


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
    text = text.removeprefix("\ufeff")
    _guard(text, file)
    root, violations = _quick_tree(text, file) or _tree(text, file)
    placer = _Placer(file)
    value = None if root is None else placer.plain(root, (), None)
    return Document(file, value, placer.positions, placer.keys, placer.spelled, violations)


_Tree = tuple[YamlNode | None, tuple[Violation, ...]]


def _quick_tree(text: str, file: str) -> _Tree | None:
    """Return what a text without a fault says; None for the slower parser to read it, and say what is wrong."""
    reader = Reader(quick_events(text), file)
    try:
        root = reader.document()
    except (Unclear, InvalidMesh):
        return None
    return None if reader.violations else (root, ())


def _tree(text: str, file: str) -> _Tree:
    from legation.mesh.syntax import events  # noqa: PLC0415 - most files never need it, nor its memory

    reader = Reader(events(text, file), file)
    return reader.document(), tuple(reader.violations)


def _guard(text: str, file: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise InvalidMesh(
            [Violation(Position(file, 1, 1), "", f"more than {LONGEST_TEXT} characters: put less in one file")]
        )
    if found := _UNPRINTABLE.search(text):
        before = text[: found.start()]
        here = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise InvalidMesh([Violation(here, "", f"the character {shown(found[0])} cannot stand in YAML")])


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
