"""Parser events as a tree of values, each with its place.

Built on events rather than by a constructor: every duplicate key is found and not the
first alone, the limits hold before anything grows, and numbers and booleans are those of YAML
1.2's core schema (§10.3.2), where `on` and `no` are text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from legation.mesh.errors import InvalidMesh, Position, Violation
from legation.mesh.source import Path
from legation.mesh.wording import dotted, shown

DEEPEST = 50
"""Levels of lists and mappings; the model has nine."""

_CORE = "tag:yaml.org,2002:"
_TEXT = ("!", f"{_CORE}str")
_PLAIN = tuple(f"{_CORE}{name}" for name in ("null", "bool", "int", "float", "map", "seq"))
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value, and the text that spells it."""

    at: Position
    value: Any
    text: str


@dataclass(frozen=True, slots=True)
class YamlSequence:
    """A list."""

    at: Position
    items: tuple["YamlNode", ...]


@dataclass(frozen=True, slots=True)
class YamlMapping:
    """A mapping: each key with its own place and its value."""

    at: Position
    entries: Mapping[str, tuple[Position, "YamlNode"]]


YamlNode = Scalar | YamlSequence | YamlMapping


class Reader:
    """Reads one document; collects in `violations` what is wrong with it but can be read on."""

    def __init__(self, events: Iterator[Event], file: str) -> None:
        """Read from `events`."""
        self.violations: list[Violation] = []
        self._events = events
        self._file = file
        self._anchors: dict[str, YamlNode | None] = {}

    def document(self) -> YamlNode | None:
        """Return the only document's value, or None when there is none; InvalidMesh when it cannot be read."""
        root: YamlNode | None = None
        started = False
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if started:
                    self._refuse(event, (), "a second document begins here: one file holds one mesh")
                started = True
                root = self._node(next(self._events), ())
        return root

    def _node(self, event: Any, path: Path) -> YamlNode:
        if len(path) > DEEPEST:
            self._refuse(event, (), f"lists and mappings are more than {DEEPEST} levels deep")
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._fresh(event, path)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, path: Path) -> YamlNode:
        node = self._anchors.get(event.anchor)
        if node is None:
            why = "refers to itself" if event.anchor in self._anchors else "has no anchor before it"
            self._refuse(event, path, f"the alias *{event.anchor} {why}")
        return node

    def _fresh(self, event: Any, path: Path) -> YamlNode:
        here = mark_position(event.start_mark, self._file)
        tag = None if event.tag is None else str(event.tag)
        if tag is not None and tag not in _TEXT and tag not in _PLAIN:
            self._violation(here, path, f"the tag {tag.replace(_CORE, '!!')} is not known: write a plain value")
        if isinstance(event, MappingStartEvent):
            return YamlMapping(here, self._entries(path))
        if isinstance(event, SequenceStartEvent):
            return YamlSequence(here, self._items(path))
        plain = tag in _PLAIN or (tag is None and event.implicit[0])
        return Scalar(here, scalar(event.value) if plain else self._text(here, path, event.value), event.value)

    def _items(self, path: Path) -> tuple[YamlNode, ...]:
        items: list[YamlNode] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return tuple(items)

    def _entries(self, path: Path) -> Mapping[str, tuple[Position, YamlNode]]:
        entries: dict[str, tuple[Position, YamlNode]] = {}
        merged: list[YamlNode] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            here = mark_position(event.start_mark, self._file)
            merges = isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._key(event, path)
            value = self._node(next(self._events), (*path, key))
            if merges:
                merged.append(value)
            elif key in entries:
                first = entries[key][0]
                self._violation(here, (*path, key), f"given twice, first at {first.line}:{first.column}")
            else:
                entries[key] = here, value
        return {**self._merge(merged, path), **entries}

    def _key(self, event: Event, path: Path) -> str:
        node = self._node(event, (*path, "?"))
        if not isinstance(node, Scalar):
            self._refuse(event, path, "a list or a mapping cannot be a key: write a word")
        if not isinstance(node.value, str):
            self._violation(node.at, path, f'the key {node.text or "null"} is no text: put it in quotes, "{node.text}"')
        return node.text if isinstance(node.value, str) or node.text else "null"

    def _merge(self, values: list[YamlNode], path: Path) -> dict[str, tuple[Position, YamlNode]]:
        """Return what `<<` brings in; the first mapping that has a key wins (YAML merge key, 2005)."""
        entries: dict[str, tuple[Position, YamlNode]] = {}
        for value in values:
            for part in value.items if isinstance(value, YamlSequence) else (value,):
                if isinstance(part, YamlMapping):
                    entries = {**part.entries, **entries}
                else:
                    self._violation(part.at, (*path, "<<"), "only mappings can be merged")
        return entries

    def _text(self, here: Position, path: Path, text: str) -> str:
        """Return a text without half characters, which escapes can spell but nothing can send."""
        whole = re.sub("[\ud800-\udfff]", "\ufffd", text)
        if whole != text:
            self._violation(here, path, f"{shown(text)} holds half of a character: escape the whole one with \\U")
        return whole

    def _violation(self, here: Position, path: Path, message: str) -> None:
        self.violations.append(Violation(here, dotted(path), message))

    def _refuse(self, event: Event, path: Path, message: str) -> NoReturn:
        raise InvalidMesh(
            [*self.violations, Violation(mark_position(event.start_mark, self._file), dotted(path), message)]
        )


def mark_position(mark: object, file: str) -> Position:
    """Return where a parser's mark stands; it counts from 0."""
    return Position(file, getattr(mark, "line", 0) + 1, getattr(mark, "column", 0) + 1)


def scalar(text: str) -> Any:
    """Return what a plain scalar means: null, a boolean, a number or its own text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(re.sub(r"\.(?=[in])", "", text.lower())) if _FLOAT.fullmatch(text) else text
