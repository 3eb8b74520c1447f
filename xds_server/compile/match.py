"""`match` to Envoy's route match.

Envoy looks at the headers of a row before its path, most of them by a table of all headers that it makes for the first
such look. So a row asks first how the path begins, as of a header, then the method: most rows are for others
(docs/bench.md).
"""

import re
from collections.abc import Iterable

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from envoy.config.route.v3.route_components_pb2 import RouteMatch as Match
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh.model.match import RouteMatch, TextMatch
from xds_server.compile.pack import pack


def route_match(match: RouteMatch, methods: tuple[str, ...] = ()) -> Match:
    """Return the match; `methods` are in place of its own."""
    found = _path(match)
    if (beginning := _beginning(match)) not in ("", "/"):
        found.headers.append(HeaderMatcher(name=":path", string_match=StringMatcher(prefix=beginning)))
    if methods:
        found.headers.append(HeaderMatcher(name=":method", string_match=one_of(methods)))
    found.headers.extend(header_match(name, text) for name, text in sorted(match.headers.items()))
    found.query_parameters.extend(_query(name, text) for name, text in sorted(match.query.items()))
    return found


def one_of(methods: Iterable[str]) -> StringMatcher:
    """Match one of these methods; they are capital letters only, so nothing needs quoting."""
    wanted = sorted(methods)
    return StringMatcher(exact=wanted[0]) if len(wanted) == 1 else _regex("|".join(wanted))


def _beginning(match: RouteMatch) -> str:
    """Return how each path of a row that looks at headers begins: without those, its path says no as cheaply."""
    if not match.headers:
        return ""
    if match.regex is not None:
        return _literal(match.regex)
    if match.template is not None:
        return match.template.partition("{")[0].partition("*")[0]
    at = _path(match)
    return str(at.path or at.prefix)


def _literal(pattern: str) -> str:
    """Return how all that an expression matches begins, as far as is plain to see."""
    if "|" in pattern:
        return ""
    whole = pattern.removeprefix("^")
    plain: str = re.split(r"[^\w/-]", whole, maxsplit=1, flags=re.ASCII)[0]
    return plain[:-1] if whole[len(plain) :].startswith(("?", "*", "{")) else plain


def _path(match: RouteMatch) -> Match:
    if match.path is not None:
        return Match(path=match.path)
    if match.regex is not None:
        return Match(safe_regex=RegexMatcher(regex=match.regex))
    if match.template is not None:
        config = pack(UriTemplateMatchConfig(path_template=match.template))
        name = "envoy.path.match.uri_template.uri_template_matcher"
        return Match(path_match_policy=TypedExtensionConfig(name=name, typed_config=config))
    if match.grpc is not None and match.grpc.method is not None:
        return Match(path=f"/{match.grpc.service}/{match.grpc.method}")
    return Match(prefix=f"/{match.grpc.service}/" if match.grpc is not None else match.prefix or "/")


def header_match(name: str, text: TextMatch) -> HeaderMatcher:
    """Return what a header must look like."""
    if text.present is not None:
        return HeaderMatcher(name=name, present_match=text.present)
    return HeaderMatcher(name=name, string_match=_matcher(text))


def _query(name: str, text: TextMatch) -> QueryParameterMatcher:
    if text.present is not None:
        return QueryParameterMatcher(name=name, present_match=text.present)
    return QueryParameterMatcher(name=name, string_match=_matcher(text))


def _matcher(text: TextMatch) -> StringMatcher:
    if text.regex is not None:
        return _regex(text.regex)
    return StringMatcher(exact=text.exact, prefix=text.prefix, suffix=text.suffix, contains=text.contains)


def _regex(pattern: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=pattern))
