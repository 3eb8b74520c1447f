"""What no proxy of ours passes on, as apps behind it would disagree about its meaning: refused before any route.

A Host that is no name or address with a port or none: 400. So are two (Envoy joins them with a comma), a user name in
it, and none at all (RFC 9112 §3.2, RFC 9110 §4.2), for which the next proxy would end the connection of all.
TRACE says back to a browser's script what it may not read: 405 (RFC 9110 §9.3.8).
"""

from collections.abc import Sequence

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

HOST = r"(\[[\d:a-fA-F.]+\]|[\w.~-]+)(:\d*)?"
"""What a browser would send; RFC 3986 §3.2.2 has more, by which names in DNS are never called."""

UNCLEAR_PATH = r"(?i).*(//|/\.\.|[;\\]|%([01u]|25|2e|2f|3b|5c|7f|c[01]|e0%[89]|f0%8|f[89a-f])).*"
"""What apps read in different ways: empty segments, `..`, parameters, backslashes; slashes, dots and such in disguise.

Disguises are control characters too, `%u002e`, and more bytes than UTF-8 has for a character (RFC 3629 §10), with
the five and six that it once had.

A prefix says nothing about a path that an app may take to lead out of it.
"""


def refusing(routes: Sequence[components.Route]) -> Sequence[components.Route]:
    """Return rows that take no such request: the refusals come first.

    Behind the only row, which lets them have what is theirs: so most requests, where most services have no routes,
    are looked at once and not three times.
    """
    if len(routes) != 1:
        return [*_refusals(), *routes]
    only = components.Route()
    only.CopyFrom(routes[0])
    only.match.headers.extend(_other_than(match) for match in (_HOST, _TRACE))
    return [only, *_refusals()]


def _refusals() -> Sequence[components.Route]:
    return [
        _refusal("host", _HOST, (400, "one host")),
        _refusal("trace", _TRACE, (405, "no TRACE")),
    ]


def _other_than(match: components.HeaderMatcher) -> components.HeaderMatcher:
    found = components.HeaderMatcher()
    found.CopyFrom(match)
    found.invert_match = not match.invert_match
    return found


def not_here(status: int) -> components.Route:
    """Return the answer to a Host that leads to nobody here: 404, or 421 where another connection may find it."""
    answer = components.DirectResponseAction(
        status=status, body=DataSource(inline_string="no service has this host here")
    )
    return components.Route(name="elsewhere", match=components.RouteMatch(prefix="/"), direct_response=answer)


_HOST = components.HeaderMatcher(
    name=":authority", string_match=StringMatcher(safe_regex=RegexMatcher(regex=HOST)), invert_match=True
)
_TRACE = components.HeaderMatcher(name=":method", string_match=StringMatcher(exact="TRACE"))


def _refusal(what: str, match: components.HeaderMatcher, answer: tuple[int, str]) -> components.Route:
    status, text = answer
    return components.Route(
        name=f"refused.{what}",
        match=components.RouteMatch(prefix="/", headers=[match]),
        direct_response=components.DirectResponseAction(status=status, body=DataSource(inline_string=f"{text}\n")),
    )
