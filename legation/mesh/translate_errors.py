"""What the model rejects, as violations in the operator's words: the value, and what would be accepted."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from legation.mesh.document import Document
from legation.mesh.errors import Violation
from legation.mesh.schema import SchemaNode, at, expected, fields
from legation.mesh.source import Path, nearest
from legation.mesh.types import PHRASES, format_duration
from legation.mesh.wording import among, dotted, kind, shown

_KEY = "[key]"
"""How pydantic ends the path of a violation about a key."""


Rejected = tuple[Path, Violation]
"""A value that the model does not take: its path, and the violation."""


def translate(error: ValidationError, document: Document) -> tuple[Rejected, ...]:
    """Return all that the model rejects but empty places, which `empty` tells of."""
    details = error.errors(include_url=False)
    told = [d for d in details if d["input"] is not None or d["type"] == "extra_forbidden"]
    return tuple((path := path_of(detail, document), _violation(detail, path, document)) for detail in told)


def empty(document: Document) -> tuple[Rejected, ...]:
    """Return the places that are written without a value: a slip, never a meaning."""
    places = (path for path in document.spelled if path and _value(document, path) is None)
    return tuple((path, _empty(document, path, node)) for path in places if (node := at(path)) is not None)


def _empty(document: Document, path: Path, node: SchemaNode) -> Violation:
    around = at(path[:-1]) or {}
    text = document.spelled[path]
    optional = path[-1] in fields(around) and path[-1] not in around.get("required", ())
    what = f"{text} is empty" if text else "empty"
    message = f"{what}: write {expected(node)}{', or leave the field out' if optional else ''}"
    return Violation(document.positions[path], dotted(path), message)


def path_of(detail: ErrorDetails, document: Document) -> Path:
    """Return the path of a violation as the file has it: a call's bare name has no field `service`."""
    path = detail["loc"]
    unwritten = path not in document.positions
    of_key, of_bare_name = path[-1] == _KEY, path[:-1] in document.spelled
    return path[:-1] if unwritten and (of_key or of_bare_name) else path


def _violation(detail: ErrorDetails, path: Path, document: Document) -> Violation:
    of_key = detail["type"] == "extra_forbidden" or detail["loc"] == (*path, _KEY)
    position = document.keys[path] if of_key else nearest(document.positions, path, document.file)
    return Violation(position, dotted(path), _message(detail, path, document))


def _message(detail: ErrorDetails, path: Path, document: Document) -> str:
    value, limits = detail["input"], detail.get("ctx", {})
    say: Mapping[str, Callable[[], str]] = {
        "extra_forbidden": lambda: f"unknown field{among(str(path[-1]), fields(at(path[:-1]) or {}))}",
        "missing": lambda: f"missing: write {_wanted(path)}",
        "less_than_equal": lambda: f"{shown(value)} is above the maximum {limits['le']}",
        "greater_than_equal": lambda: f"{shown(value)} is below the minimum {limits['ge']}",
        "greater_than": lambda: f"{shown(value)} is too short: write more than {format_duration(timedelta(0))}",
        "value_error": lambda: str(limits["error"]),
        "literal_error": lambda: f"{_spelled(value, path, document)} is unknown{among(str(value), _choices(path))}",
        "string_pattern_mismatch": lambda: f"{shown(value)} is not accepted: write {PHRASES[limits['pattern']]}",
        "ip_v4_address": lambda: f"{shown(value)} is not accepted: write {_wanted(path)}",
        "too_short": lambda: f"empty: write {_wanted(path)}, at least one",
    }
    return say.get(detail["type"], lambda: _mistyped(value, path, document))()


def _mistyped(value: Any, path: Path, document: Document) -> str:
    wants = _wanted(path)
    if isinstance(value, list | dict):
        return f"{kind(value)} cannot stand here: write {wants}"
    spelled = _spelled(value, path, document)
    node = at(path) or {}
    is_text = any("pattern" in choice for choice in node.get("anyOf", (node,)))
    quoted = f', in quotes: "{spelled}"' if is_text and value is not None else ""
    return f"{spelled} is {kind(value)}: write {wants}{quoted}"


def _wanted(path: Path) -> str:
    return expected(at(path) or {})


def _choices(path: Path) -> tuple[str, ...]:
    return tuple((at(path) or {}).get("enum", ()))


def _spelled(value: Any, path: Path, document: Document) -> str:
    """Return a value as it is written: 1.10, which as a number would be 1.1."""
    return shown(value) if isinstance(value, str) or value is None else document.spelled.get(path, shown(value))[:60]


def _value(document: Document, path: Path) -> Any:
    value = document.value
    for step in path:
        value = value[step]
    return value
