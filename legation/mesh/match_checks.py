"""What types cannot see in `match`: fields that exclude each other, and regular expressions that Envoy refuses."""

import re
from collections.abc import Iterator, Mapping

from legation.mesh.model.match import RouteMatch, TextMatch
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.wording import either, shown

_TEXT = tuple(TextMatch.model_fields)
_NOT_IN_RE2 = re.compile(r"\(\?[=!<]|\\[1-9]|\(\?P=|[*+?}]\+")
"""Looking around, groups that are used again, possessive repeats."""


def match_violations(match: RouteMatch, here: Path) -> Iterator[RuleViolation]:
    """Yield every broken rule of a match."""
    if len(match.paths) > 1:
        path: Path = (*here, match.paths[1])
        message = f"{match.paths[0]} and {match.paths[1]} exclude each other: leave one out"
        yield RuleViolation(path, message, tuple((*here, f) for f in match.paths), at_key=True)
    yield from starred_paths({"path": match.path, "prefix": match.prefix}, here)
    if match.regex is not None:
        yield from regex_violations(match.regex, (*here, "regex"))
    for field, texts in (("headers", match.headers), ("query", match.query)):
        for name, text in texts.items():
            yield from _text(text, (*here, field, name))


def starred_paths(paths: Mapping[str, str | None], here: Path) -> Iterator[RuleViolation]:
    """Yield the paths with a `*`, which Envoy would compare as a plain character."""
    for field, path in paths.items():
        if path is not None and "*" in path:
            message = f"{shown(path)} holds a *, which matches nothing but itself: write it without"
            yield RuleViolation((*here, field), message, ((*here, field),))


def regex_violations(pattern: str, here: Path) -> Iterator[RuleViolation]:
    """Yield what RE2 would refuse of a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        yield RuleViolation(here, f"{shown(pattern)} is no regular expression: {error}", (here,))
        return
    if found := _NOT_IN_RE2.search(pattern):
        message = f"{shown(pattern)} holds {found[0]}, which RE2 does not know: write it without"
        yield RuleViolation(here, message, (here,))


def _text(text: TextMatch, here: Path) -> Iterator[RuleViolation]:
    given = [field for field in _TEXT if getattr(text, field) is not None]
    if not given:
        yield RuleViolation(here, f"empty: write one of {either(_TEXT)}", (here,))
    elif len(given) > 1:
        yield RuleViolation(here, f"{given[0]} and {given[1]} exclude each other: leave one out", (here,))
    if text.regex is not None:
        yield from regex_violations(text.regex, (*here, "regex"))
