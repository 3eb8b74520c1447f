"""Access decided once a connection, as far as who a peer is decides it: that does not change on a connection.

The rules are those of requests (`rbac`), in a filter of connections that enforces nothing: it finds what a peer may
do, and a second one keeps the name of that in the connection's filter state, where no request can say it. In front of
an app each row of the routes has others before it, for connections with such a state and the requests that it allows,
on which the filter of requests is off. Whatever is missing (the state, a certificate, what an Envoy knows), and each
request that may not be made, leaves that on, with all that it denies and counts.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC as Rules  # noqa: N811 - Envoy has three
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy
from envoy.config.route.v3.route_components_pb2 import FilterConfig, HeaderMatcher, Route
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds.type.v3.typed_struct_pb2 import TypedStruct

from legation.mesh.model.call import Allow
from legation.mesh.model.service import Service
from xds_server.compile.match import header_match, one_of
from xds_server.compile.pack import pack
from xds_server.compile.rbac import Callers, principal
from xds_server.compile.strict import UNCLEAR_PATH

ACCESS, RBAC = "legation.calls", "envoy.filters.http.rbac"
"""The filter of requests: where routes may turn it off, and elsewhere, by a name that they do not know."""

DECIDES, KEEPS = "legation.callers", "legation.allowed"
_CONFIG = "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config"
_FOUND = "%DYNAMIC_METADATA(envoy.filters.network.rbac:shadow_effective_policy_id)%"

Rights = Mapping[str, tuple[Allow, ...]]
"""What peers may do, by a name that is another for other rights; an empty tuple is everything."""

EVERYTHING = "everything"
_MOST_ROWS = 4
"""Of rights that are less: a request passes all of them before one that it is not for, at a fifth of the gain each."""

_CLEAR = HeaderMatcher(
    name=":path", string_match=StringMatcher(safe_regex=RegexMatcher(regex=UNCLEAR_PATH)), invert_match=True
)


def decided_once(service: Service, allowed: Callers) -> Rights:
    """Return the rights of a service's callers that rows of routes can say."""
    if service.access.mode != "enforce":
        return {}
    sayable = (allow for allow in allowed.values() if all(_is_sayable(service, rule) for rule in allow))
    found = {_name(service, allow): allow for allow in sayable}
    rows = sum(len(rule.paths) or 1 for allow in found.values() for rule in allow)
    return found if rows <= _MOST_ROWS else {name: allow for name, allow in found.items() if not allow}


def _is_sayable(service: Service, rule: Allow) -> bool:
    """Say whether a rule is of what a request is when its route is found, which is before its token is looked at."""
    changed = {*service.jwt.claim_to_headers, service.jwt.from_header or "authorization"} if service.jwt else set()
    return not rule.claims and not changed & rule.headers.keys()


def _name(service: Service, allow: tuple[Allow, ...]) -> str:
    """Name rights by what they are: a listener and routes from before it may not mean two things by one name."""
    if not allow:
        return EVERYTHING
    said = [rule.model_dump(mode="json") for rule in allow], service.jwt and service.jwt.model_dump(mode="json")
    return f"rights-{sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]}"


def deciding_filters(trust_domain: str, service: Service, allowed: Callers) -> tuple[Filter, ...]:
    """Return what decides for a connection, before its manager; nothing where nothing is decided so."""
    policies = {}
    for name in decided_once(service, allowed):
        callers = [caller for caller, allow in allowed.items() if _name(service, allow) == name]
        principals = [principal(trust_domain, caller) for caller in callers]
        policies[name] = Policy(permissions=[Permission(any=True)], principals=principals)
    if not policies:
        return ()
    rbac = RbacFilter(stat_prefix="callers.", shadow_rules=Rules(action=Rules.Action.ALLOW, policies=policies))
    return Filter(name=DECIDES, typed_config=pack(rbac)), Filter(name=KEEPS, typed_config=pack(_kept()))


def _kept() -> TypedStruct:
    """Return what keeps the decision, as JSON: the protos that we have lack `on_downstream_data`.

    Only with a connection's first bytes is its handshake over and decided by whom it is.
    """
    text = {"text_format_source": {"inline_string": _FOUND}}
    value = {"object_key": KEEPS, "factory_key": "envoy.string", "format_string": text}
    config = TypedStruct(type_url=_CONFIG)
    config.value.update({"on_downstream_data": [value]})
    return config


def with_decided(rows: Iterable[Route], rights: Rights) -> Iterator[Route]:
    """Yield rows, those that lead to an app with others before them for connections that are decided."""
    for row in rows:
        if row.HasField("route"):
            yield from _decided(row, rights)
        yield row


def _decided(row: Route, rights: Rights) -> Iterator[Route]:
    """Yield a row for those who may do everything, and for the others, where it is for all paths, one for each path."""
    for name, allow in sorted(rights.items()):
        if not allow:
            yield _off(row, name)
        elif row.match.prefix == "/":
            yield from (_only(_off(row, name), rule, path) for rule in allow for path in rule.paths or ("/*",))


def _off(row: Route, name: str) -> Route:
    """Return a row for connections of this state alone, with the filter of requests off."""
    found = Route()
    found.CopyFrom(row)
    found.match.filter_state.append(FilterStateMatcher(key=KEEPS, string_match=StringMatcher(exact=name)))
    found.typed_per_filter_config[ACCESS].CopyFrom(pack(FilterConfig(disabled=True)))
    return found


def _only(row: Route, rule: Allow, path: str) -> Route:
    """Have a row take what a rule allows on one of its paths, and no more (`rbac` has the same rule for a request)."""
    if not path.endswith("/*"):
        row.match.path = path
    elif path != "/*":
        row.match.prefix = path[:-1]
        row.match.headers.append(_CLEAR)
    if rule.methods:
        row.match.headers.append(HeaderMatcher(name=":method", string_match=one_of(rule.methods)))
    row.match.headers.extend(header_match(header, text) for header, text in sorted(rule.headers.items()))
    return row
