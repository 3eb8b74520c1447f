"""What no proxy of ours passes on, as apps behind it would disagree about its meaning: refused before any route.

Two `Host` headers (Envoy joins them with a comma) and user names in it: 400 (RFC 9112 §3.2, RFC 9110 §4.2.4).
TRACE says back to a browser's script what it may not read: 405 (RFC 9110 §9.3.8).
"""

from collections.abc import Sequence

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

ODD_AUTHORITY = ".*[,@].*"

UNCLEAR_PATH = r"(?i).*(//|/\.\.|[;\\]|%(00|25|2e|2f|3b|5c)).*"
"""What apps read in different ways: empty segments, `..`, parameters, backslashes; slashes, dots and such in disguise.

A prefix says nothing about a path that an app may take to lead out of it.
"""


def refusals() -> Sequence[components.Route]:
    """Return the first rows of every route configuration."""
    return [
        _refusal("host", ":authority", StringMatcher(safe_regex=RegexMatcher(regex=ODD_AUTHORITY)), (400, "one host")),
        _refusal("trace", ":method", StringMatcher(exact="TRACE"), (405, "no TRACE")),
    ]


def not_here(status: int) -> components.Route:
    """Return the answer to a Host that leads to nobody here: 404, or 421 where another connection may find it."""
    answer = components.DirectResponseAction(
        status=status, body=DataSource(inline_string="no service has this host here")
    )
    return components.Route(name="elsewhere", match=components.RouteMatch(prefix="/"), direct_response=answer)


def _refusal(what: str, header: str, match: StringMatcher, answer: tuple[int, str]) -> components.Route:
    status, text = answer
    return components.Route(
        name=f"refused.{what}",
        match=components.RouteMatch(prefix="/", headers=[components.HeaderMatcher(name=header, string_match=match)]),
        direct_response=components.DirectResponseAction(status=status, body=DataSource(inline_string=f"{text}\n")),
    )
