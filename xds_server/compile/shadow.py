"""`access: {mode: shadow}`: what `calls` would deny is let in, and counted for each caller."""

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as RbacFilter  # noqa: N811 - Envoy has two RBACs

from xds_server.compile.rbac import Callers, allowed_permissions, principal

OTHERS = "others"
"""The policy that counts whoever `calls` does not name."""


def shadow(trust_domain: str, allowed: Callers) -> RbacFilter:
    """Return the filter in front of a service that is only tried."""
    return RbacFilter(shadow_rules=_rules(trust_domain, allowed), track_per_rule_stats=True)


def _rules(trust_domain: str, allowed: Callers) -> RBAC:
    """Return rules that nobody enforces: one policy a caller, which holds where it would be denied.

    Envoy counts per policy what a rule decides, and a denial by no rule at all nowhere.
    """
    policies = {
        caller: Policy(principals=[principal(trust_domain, caller)], permissions=[_none_of(allowed_permissions(allow))])
        for caller, allow in allowed.items()
        if allow
    }
    known = Principal(or_ids=Principal.Set(ids=[principal(trust_domain, caller) for caller in allowed]))
    anyone_else = Principal(not_id=known) if allowed else Principal(any=True)
    policies[OTHERS] = Policy(principals=[anyone_else], permissions=[Permission(any=True)])
    return RBAC(action=RBAC.Action.DENY, policies=policies)


def _none_of(permissions: list[Permission]) -> Permission:
    return Permission(not_rule=Permission(or_rules=Permission.Set(rules=permissions)))
