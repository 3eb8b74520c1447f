"""Every policy that a mesh has in Vault, as text. None names a service: Vault knows who asks."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from certmgr.core.layout import EDGE, ENROL, INT_MOUNT, KINDS, MAKE_ROOT, REVOKE, ROOT_MOUNT, TOKEN_TTL, Kind


class Rule(NamedTuple):
    """What may be done at a path; `allowed` is what each parameter may be, `more` is any other line of HCL."""

    path: str
    rights: str
    allowed: str = ""
    more: str = ""


def text(rules: Iterable[Rule]) -> str:
    """Return a policy."""
    return "".join(_stanza(rule) for rule in rules)


def _stanza(rule: Rule) -> str:
    rights = ", ".join(f'"{right}"' for right in rule.rights.split())
    allowed = f"allowed_parameters = {{ {rule.allowed} }}" if rule.allowed else ""
    inside = "\n  ".join(line for line in (f"capabilities = [{rights}]", allowed, rule.more) if line)
    return f'path "{rule.path}" {{\n  {inside}\n}}\n'


def sign_policy(kind: Kind) -> str:
    """Return the policy of every signer of a kind: ask its role for a signature, and read which key that wants."""
    asked = '"csr" = [] "uri_sans" = [] "ttl" = [] "format" = ["pem"] "common_name" = [""]'
    return text(
        (
            Rule(f"{INT_MOUNT}/sign/{kind.role}", "update", f'{asked} "remove_roots_from_chain" = []'),
            Rule(f"{INT_MOUNT}/roles/{kind.role}", "read"),
        )
    )


def enrol_policy() -> str:
    """Return the policy of what runs all the time: make AppRoles that sign for their own name, and no other kind.

    `+` is one segment, so nothing below an AppRole is meant, such as `policies` or
    `custom-secret-id`. Each parameter that it may give has the one value that it may have. A secret
    id travels wrapped or not at all, and takes no metadata.
    """
    rules = [rule for kind in KINDS for rule in _enrol(kind)]
    own = (("lookup", "read"), ("renew", "update"), ("revoke", "update"))
    return text([*rules, *(Rule(f"auth/token/{what}-self", right) for what, right in own)])


def _enrol(kind: Kind) -> Iterable[Rule]:
    return (Rule(f"auth/{kind.auth}/role", "list"), *enrol_rules(kind, f"auth/{kind.auth}/role/+"))


def enrol_rules(kind: Kind, role: str) -> Iterable[Rule]:
    """Return what makes AppRoles of a kind at a path: each parameter pinned, secret ids wrapped."""
    pinned = (
        f'"token_policies" = ["{kind.policy}"] "token_ttl" = ["{TOKEN_TTL}"] '
        '"token_type" = ["batch"] "token_no_default_policy" = [true]'
    )
    wrapped = 'denied_parameters = { "*" = [] }\n  min_wrapping_ttl = "1s"\n  max_wrapping_ttl = "300s"'
    return (
        Rule(role, "create update read delete", pinned),
        Rule(f"{role}/role-id", "read"),
        Rule(f"{role}/secret-id", "update", more=wrapped),
    )


def revoke_policy() -> str:
    """Return the policy that revokes leaves of the mesh, and has the list of them made anew."""
    asked = '"certificate" = [] "serial_number" = []'
    return text(
        (
            Rule(f"{INT_MOUNT}/revoke", "update", asked),
            Rule(f"{INT_MOUNT}/crl/rotate", "read"),
            Rule(f"{INT_MOUNT}/certs/revoked", "list"),
        )
    )


def _init() -> Iterable[Rule]:
    """Return what set-up needs, and what it needs to take away what earlier versions have set up."""
    write = "create read update patch delete list"
    policies = (*POLICIES, "mesh-sign-*", f"{ENROL}-*", "legation-*")
    auths = ("approle", *(kind.auth for kind in (*KINDS, EDGE)))
    yield from (Rule(path, "read") for path in ("sys/mounts", "sys/auth"))
    for mount in (ROOT_MOUNT, INT_MOUNT):
        yield Rule(f"sys/mounts/{mount}", write)
        yield Rule(f"sys/mounts/{mount}/tune", "read update")
        yield Rule(f"{mount}/issuers", "list")
        yield Rule(f"{mount}/issuer/+", write)
    yield from (Rule(f"sys/auth/{auth}", "create read update sudo") for auth in auths)
    yield Rule("sys/audit", "read sudo")
    yield Rule("sys/policies/acl", "list")
    yield Rule("sys/policies/acl/+", "read")
    yield from (Rule(f"sys/policies/acl/{policy}", write) for policy in policies)
    yield from (Rule(f"auth/{auth}/role", "list") for auth in auths)
    yield from (Rule(f"auth/approle/role/{role}", write) for role in (f"{ENROL}*", "mesh-sign-*", "legation-*"))
    yield Rule(f"{ROOT_MOUNT}/{MAKE_ROOT}", "update")
    yield Rule(f"{ROOT_MOUNT}/issuer/+/sign-intermediate", "update")
    yield Rule(f"{INT_MOUNT}/issuers/import/bundle", "update")
    yield from (Rule(f"{INT_MOUNT}/config/{what}", "read update") for what in ("issuers", "crl", "auto-tidy"))
    yield Rule(f"{INT_MOUNT}/roles", "list")
    yield Rule(f"{INT_MOUNT}/roles/+", write)


POLICIES: Mapping[str, str] = {
    **{kind.policy: sign_policy(kind) for kind in KINDS},
    ENROL: enrol_policy(),
    REVOKE: revoke_policy(),
}
"""Every policy of the mesh, by name."""

INIT_POLICY = text(_init())
"""What `legation certs init` and `doctor` need. It writes policies: who has it can have the whole Vault. On no host."""
