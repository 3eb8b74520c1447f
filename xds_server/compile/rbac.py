"""`calls` to access control: who may ask a service for what. Deny by default; the callee's own proxy enforces it."""

from collections.abc import Iterable, Mapping

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal, SourcedMetadata
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has two RBACs
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

from legation.mesh import names
from legation.mesh.model.call import Allow
from legation.mesh.model.mesh import Mesh
from xds_server.compile.ask import CLAIMS, JWT_FILTER
from xds_server.compile.match import header_match
from xds_server.compile.strict import UNCLEAR_PATH

Callers = Mapping[str, tuple[Allow, ...]]
"""The callers of one service and what each may do; an empty tuple is everything."""

_CLEAR = Permission(
    not_rule=Permission(url_path=PathMatcher(path=StringMatcher(safe_regex=RegexMatcher(regex=UNCLEAR_PATH))))
)


def callers(mesh: Mesh) -> Mapping[str, Callers]:
    """Return who may call each service, the gateway among them."""
    found: dict[str, dict[str, tuple[Allow, ...]]] = {name: {} for name in mesh.services}
    for name, caller in mesh.services.items():
        for call in caller.calls:
            if call.service in found:
                found[call.service][name] = call.allow
    for name in mesh.exposed():
        found[name][names.GATEWAY] = ()
    asked = {name: dict(allowed) for name, allowed in found.items()}
    for name, service in mesh.services.items():
        if service.failover is not None:
            _add(found[service.failover], asked[name])
    return found


def _add(allowed: dict[str, tuple[Allow, ...]], more: Callers) -> None:
    """Let the callers of a service do the same at the one that stands in for it, beside what they may do there."""
    for caller, rules in more.items():
        both = (*allowed[caller], *rules) if allowed.get(caller) and rules else ()
        allowed[caller] = both if caller in allowed else rules


def access(trust_domain: str, allowed: Callers) -> RbacFilter:
    """Return the filter in front of a service: one policy for each caller, by its exact SPIFFE ID.

    A service that nobody calls has no policy, which denies everything.
    """
    return RbacFilter(rules=rules(trust_domain, allowed))


def rules(trust_domain: str, allowed: Callers) -> RBAC:
    """Return the rules alone, for requests or for connections."""
    policies = {
        caller: Policy(permissions=allowed_permissions(allow), principals=[principal(trust_domain, caller)])
        for caller, allow in allowed.items()
    }
    return RBAC(action=RBAC.Action.ALLOW, policies=policies)


def restricts_paths(allowed: Callers) -> bool:
    """Say whether some caller may ask for some paths only."""
    return any(rule.paths for allow in allowed.values() for rule in allow)


def reads_claims(allowed: Callers) -> bool:
    """Say whether some caller may ask with some tokens only."""
    return any(rule.claims for allow in allowed.values() for rule in allow)


def principal(trust_domain: str, caller: str) -> Principal:
    """Return who a caller is, by its certificate."""
    expected = StringMatcher(exact=names.spiffe_id(trust_domain, caller))
    return Principal(authenticated=Principal.Authenticated(principal_name=expected))


def allowed_permissions(allow: tuple[Allow, ...]) -> list[Permission]:
    """Return what a caller may do; one of them must hold."""
    return [_permission(rule) for rule in allow] or [Permission(any=True)]


def _permission(allow: Allow) -> Permission:
    """Return what one `allow` permits: one of its methods and one of its paths, all of the rest."""
    methods = _any_of(
        Permission(header=HeaderMatcher(name=":method", string_match=StringMatcher(exact=m))) for m in allow.methods
    )
    paths = _any_of(_path(p) for p in allow.paths)
    headers = [Permission(header=header_match(name, text)) for name, text in sorted(allow.headers.items())]
    claims = [Permission(sourced_metadata=_claim(name, value)) for name, value in sorted(allow.claims.items())]
    parts = [*methods, *paths, *headers, *claims]
    return Permission(and_rules=Permission.Set(rules=parts)) if parts else Permission(any=True)


def _claim(name: str, value: str) -> SourcedMetadata:
    """Match a claim of the token, or one entry of it where it is a list."""
    is_value = ValueMatcher(string_match=StringMatcher(exact=value))
    either = OrMatcher(value_matchers=[is_value, ValueMatcher(list_match=ListMatcher(one_of=is_value))])
    path = [MetadataMatcher.PathSegment(key=CLAIMS), MetadataMatcher.PathSegment(key=name)]
    matcher = MetadataMatcher(filter=JWT_FILTER, path=path, value=ValueMatcher(or_match=either))
    return SourcedMetadata(metadata_matcher=matcher)


def _any_of(rules: Iterable[Permission]) -> list[Permission]:
    found = list(rules)
    return [Permission(or_rules=Permission.Set(rules=found))] if found else []


def _path(path: str) -> Permission:
    """Permit an exact path, or those that are clearly below one that ends in `/*`."""
    if not path.endswith("/*"):
        return Permission(url_path=PathMatcher(path=StringMatcher(exact=path)))
    if path == "/*":
        return Permission(any=True)
    below = Permission(url_path=PathMatcher(path=StringMatcher(prefix=path[:-1])))
    return Permission(and_rules=Permission.Set(rules=[below, _CLEAR]))
