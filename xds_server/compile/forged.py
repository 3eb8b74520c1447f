"""Headers that an app believes to be its proxy's, or a token's: taken away in front of it, in every spelling.

CGI and WSGI give an app `x-user` and `x_user` under one name. The gateway takes no underscore in a header at all.
So are those by which an app would do other things than `calls` has looked at.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, groupby

from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh.model.access import Jwt
from legation.mesh.model.call import Allow
from legation.mesh.model.service import Service

_OF_PROXIES = r"x(?:[-_](?:envoy|legation)|_forwarded|-forwarded\C*_)\C*"
"""What a caller may not say of itself, in the spelling that Envoy reads and in those that only an app would."""

OF_PROXIES = tuple(
    f"x-envoy-{name}"
    for name in (
        "immediate-health-check-fail",
        "degraded",
        "ratelimited",
        "decorator-operation",
    )
)
"""What an Envoy believes of an answer, and no app may say: that an instance is ill, or a request not to be repeated."""

_MOST_STEPS = 92
"""Of what is joined, as `_steps` counts them: Envoy takes no expression that is larger than 100 steps of RE2."""

_OTHER_PATH = r"x\C(?:original|rewrite)\Curl"
"""Read in place of the path by what was written for IIS, Symfony of old among it (CVE-2018-14773)."""

_OTHER_METHOD = r"x\C(?:http\C)?method(?:\Coverride)?"
"""Read in place of POST by Rails, Express' method-override, Laravel and others."""


def forged(service: Service, deciding: Collection[tuple[Allow, ...]]) -> list[StringMatcher]:
    """Return what matches such headers, for them to go first; `deciding` is what callers may do, if it counts."""
    expressions = [_OF_PROXIES, *_beside(list(chain(*deciding))), *_of_tokens(service.jwt)]
    return [StringMatcher(safe_regex=RegexMatcher(regex=one)) for one in _joined(expressions)]


def _joined(expressions: Iterable[str]) -> Iterator[str]:
    """Yield expressions for all that some match, as few as Envoy takes: each is a pass over all headers.

    Each has one first letter after its `^`, by which RE2 passes over what begins otherwise (`RequiredPrefix`).
    """
    for first, found in groupby(sorted(expressions, key=_first), key=_first):
        row: list[str] = []
        for rest in (expression.removeprefix(first) for expression in found):
            if row and _steps("".join([*row, rest])) > _MOST_STEPS:
                yield f"^{first}(?:{'|'.join(row)})"
                row = []
            row.append(rest)
        yield f"^{first}(?:{'|'.join(row)})"


def _steps(expression: str) -> int:
    """Return how many steps RE2 takes for one of ours: three for one of two letters, two for a rest, none for `|`."""
    plain = expression.replace("[-_]", "aaa").replace(r"\C*", "aa").replace("(?:", "")
    return len(re.sub(r"[\\|)]", "", plain))


def _first(expression: str) -> str:
    """Return the letter that an expression begins with; some begin with none."""
    return expression[0] if expression[0].isalnum() else ""


def _of_tokens(jwt: Jwt | None) -> Iterator[str]:
    """Yield expressions for the headers that a token's claims fill, and for what would pass for the token itself."""
    if jwt is None:
        return
    for header in sorted(jwt.claim_to_headers):
        yield _spellings(re.split("[-_]", header))
    yield from _other_spellings(jwt.from_header or "")


def _beside(rules: Collection[Allow]) -> Iterator[str]:
    """Yield expressions for the headers by which a request means another thing than rules look at."""
    if any(rule.paths for rule in rules):
        yield _OTHER_PATH
    if any(rule.methods for rule in rules):
        yield _OTHER_METHOD
    for header in sorted({header for rule in rules for header in rule.headers}):
        yield from _other_spellings(header)


def _other_spellings(header: str) -> Iterator[str]:
    """Yield expressions for all spellings of a header but its own: one place is another, the rest as may be."""
    parts = re.split("([-_])", header)
    for at in range(1, len(parts), 2):
        other = "_" if parts[at] == "-" else "-"
        yield _spellings(parts[:at:2]) + other + _spellings(parts[at + 1 :: 2])


def _spellings(parts: Collection[str]) -> str:
    return "[-_]".join(re.escape(part) for part in parts)
