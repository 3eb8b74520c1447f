"""`calls` to access control: who may ask a service for what. Deny by default; the callee's own proxy enforces it."""

from collections.abc import Iterable, Mapping

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has two RBACs
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from legation.mesh import names
from legation.mesh.model.call import Allow
from legation.mesh.model.mesh import Mesh
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
    policies = {caller: _policy(names.spiffe_id(trust_domain, caller), allow) for caller, allow in allowed.items()}
    return RbacFilter(rules=RBAC(action=RBAC.Action.ALLOW, policies=policies))


def restricts_paths(allowed: Callers) -> bool:
    """Say whether some caller may ask for some paths only."""
    return any(rule.paths for allow in allowed.values() for rule in allow)


def _policy(spiffe_id: str, allow: tuple[Allow, ...]) -> Policy:
    principal = Principal(authenticated=Principal.Authenticated(principal_name=StringMatcher(exact=spiffe_id)))
    permissions = [_permission(rule) for rule in allow] or [Permission(any=True)]
    return Policy(permissions=permissions, principals=[principal])


def _permission(allow: Allow) -> Permission:
    """Return what one `allow` permits: one of its methods and one of its paths."""
    methods = _any_of(
        Permission(header=HeaderMatcher(name=":method", string_match=StringMatcher(exact=m))) for m in allow.methods
    )
    paths = _any_of(_path(p) for p in allow.paths)
    parts = [*methods, *paths]
    return Permission(and_rules=Permission.Set(rules=parts)) if parts else Permission(any=True)


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
