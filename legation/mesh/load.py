"""The text of mesh.yaml to a checked Mesh, or all that is wrong with it at once."""

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

from pydantic import ValidationError

from legation.mesh.ca_files import located
from legation.mesh.checks import rule_violations
from legation.mesh.document import Document, read
from legation.mesh.errors import InvalidMesh, Position, Violation
from legation.mesh.model.mesh import Mesh
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.schema import at, example, expected, schema
from legation.mesh.source import Path, SourcedMesh
from legation.mesh.translate_errors import Rejected, empty, translate
from legation.mesh.wording import kind

MOST_VIOLATIONS = 1000
"""Dangling names and broken rules that are looked for in one file; each costs a search for near misses."""


def load(text: str, file: str) -> SourcedMesh:
    """Return the mesh that `text`, the content of `file`, says; InvalidMesh with every violation of it."""
    document = read(text, file)
    if not isinstance(document.value, dict):
        raise InvalidMesh([*document.violations, _no_mapping(document)])
    mesh, found = _validated(document)
    rejected = (*found, *empty(document))
    told = {(violation.position, violation.path) for violation in document.violations}
    violations = {
        *document.violations,
        *(violation for _, violation in rejected if (violation.position, violation.path) not in told),
    }
    paths = frozenset(path for path, _ in rejected)
    sourced = _sourced(document, text, mesh if mesh is not None and not paths else _mended(document, paths))
    if sourced is None:
        raise InvalidMesh(violations)
    broken = islice(_sound(rule_violations(sourced), paths), MOST_VIOLATIONS)
    if violations := violations.union(rule.violation(sourced) for rule in broken):
        raise InvalidMesh(violations)
    return located(sourced)


def _no_mapping(document: Document) -> Violation:
    what = "the file is empty" if document.value is None else f"this is {kind(document.value)}"
    return Violation(Position(document.file, 1, 1), "", f"{what}: write {expected(schema())}")


def _validated(document: Document) -> tuple[Mesh | None, tuple[Rejected, ...]]:
    try:
        return Mesh.model_validate(document.value), ()
    except ValidationError as error:
        return None, translate(error, document)


def _sourced(document: Document, text: str, mesh: Mesh | None) -> SourcedMesh | None:
    return None if mesh is None else SourcedMesh(mesh, document.file, text, document.positions, document.keys)


def _mended(document: Document, rejected: frozenset[Path]) -> Mesh | None:
    """Return the mesh with harmless values in the place of rejected ones, so that the rest can be checked too."""
    value = deepcopy(document.value)
    for path in sorted(rejected, key=len, reverse=True):
        _mend(value, path)
    try:
        return Mesh.model_validate(value)
    except ValidationError:
        return None


def _mend(value: Any, path: Path) -> None:
    """Take an unknown field or a bad key out; put the smallest accepted value in the place of any other."""
    *around, last = path
    for step in around:
        value = value[step]
    node = at(path)
    keys = (at(around) or {}).get("propertyNames", {}).get("pattern", "")
    if node is None or (isinstance(last, str) and keys and not re.fullmatch(keys, last)):
        del value[last]
    else:
        value[last] = example(node)


def _sound(found: Iterable[RuleViolation], bad: frozenset[Path]) -> Iterator[RuleViolation]:
    """Leave out what only follows from a rejected value, or from the one that stands in for it."""
    above = frozenset(path[:length] for path in bad for length in range(len(path)))
    for violation in found:
        prefixes = (path[:length] for path in violation.rests_on for length in range(len(path) + 1))
        if above.isdisjoint(violation.rests_on) and bad.isdisjoint(prefixes):
            yield violation
