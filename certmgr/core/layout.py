"""What a mesh has in Vault: every path, and what is written there. It is written once, by an operator.

Nothing of it names a service. A service's AppRole is called as the service, and Vault puts that
name into the one URI that the role signs for and nobody else can write there. So a new service
needs neither a policy nor a role, and what runs all the time needs no right to write either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certmgr.core.schedule import BACKDATE
from legation.mesh import names

ROOT_MOUNT = "mesh-root"
INT_MOUNT = "mesh-int"
MAKE_ROOT = "root/generate/internal"
SIGN_BY_ROOT = "root/sign-intermediate"
"""Below a PKI mount, in Vault's API: what makes a root, and what signs an intermediate by whichever is its default."""
ROOT_ISSUER = "root-1"
ISSUER = "int-1"
"""The first intermediate that roles sign with; pinned, never `default` (consul#15217). A roll-over makes `int-2`."""

ENROL = "mesh-enrol"
"""The policy, and the AppRole in `auth/approle`, of what runs all the time on a host."""
REVOKE = "mesh-revoke"
"""The policy that lets a host revoke leaves; it is apart, so that it can be taken away."""

TOKEN_TTL = 600
"""Seconds that a signer's token lives."""
WRAP_TTL = 60
"""Seconds that a wrapped secret id of a service waits for its one unwrapping."""
CRL_HOURS = 72

KEYS: Mapping[str, tuple[str, int]] = {
    "ec-p256": ("ec", 256),
    "ec-p384": ("ec", 384),
    "rsa-2048": ("rsa", 2048),
    "rsa-3072": ("rsa", 3072),
    "rsa-4096": ("rsa", 4096),
}
"""The keys that the team's role may ask for: its `key_type` and `key_bits`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Services, or our own components: a PKI role, a policy and an AppRole mount for all of a kind."""

    role: str
    auth: str
    prefix: str
    """What stands before the name in the path of the SPIFFE ID."""

    @property
    def policy(self) -> str:
        """The policy of a signer: it may use the role, for which Vault fills its own name in."""
        return f"mesh-sign-{self.role}"


SERVICE = Kind("service", "mesh-services", "")
COMPONENT = Kind("component", "mesh-components", "legation/")
KINDS = (SERVICE, COMPONENT)
EDGE = Kind("edge", "mesh-edge", "")
"""No identity: what is signed for the gateway to show to its clients. See `certmgr.core.edge`."""


def kind_of(name: str) -> Kind:
    """Return what an identity is."""
    if name == names.EDGE:
        return EDGE
    return COMPONENT if name.startswith(names.COMPONENT_PREFIX) else SERVICE


def approle_path(name: str) -> str:
    """Return where the AppRole of an identity's signer is."""
    return f"auth/{kind_of(name).auth}/role/{name.removeprefix(names.COMPONENT_PREFIX)}"


def approle(name: str) -> Mapping[str, Any]:
    """Return the AppRole of an identity's signer, just as the policy of what runs all the time allows it.

    The list of one policy is written as text: a value that a policy pins must be a scalar.
    """
    return {
        "token_policies": kind_of(name).policy,
        "token_ttl": str(TOKEN_TTL),
        "token_type": "batch",
        "token_no_default_policy": True,
    }


def role(
    kind: Kind, trust_domain: str, accessor: str, key: str, max_ttl: int, issuer: str = ISSUER, *, stored: bool = False
) -> Mapping[str, Any]:
    """Return a PKI role: whatever the request says, the leaf has the caller's own URI and nothing else.

    `no_store`, if not `stored`: a mesh signs too often for Vault to keep every leaf (vault#8994).
    """
    key_type, key_bits = KEYS[key]
    name = f"{{{{identity.entity.aliases.{accessor}.metadata.role_name}}}}"
    return {
        "issuer_ref": issuer,
        "ttl": min(3600, max_ttl),
        "max_ttl": max_ttl,
        "key_type": key_type,
        "key_bits": key_bits,
        "allowed_uri_sans": [f"spiffe://{trust_domain}/{kind.prefix}{name}"],
        "allowed_uri_sans_template": True,
        "use_csr_sans": False,
        "use_csr_common_name": False,
        "require_cn": False,
        "allow_any_name": False,
        "allowed_domains": [],
        "allow_localhost": False,
        "allow_ip_sans": False,
        "allow_wildcard_certificates": False,
        "allowed_other_sans": [],
        "allowed_user_ids": [],
        "server_flag": True,
        "client_flag": True,
        "code_signing_flag": False,
        "email_protection_flag": False,
        "ext_key_usage": [],
        "ext_key_usage_oids": [],
        "basic_constraints_valid_for_non_ca": False,
        "key_usage": ["DigitalSignature"],
        "no_store": not stored,
        "generate_lease": False,
        "not_before_duration": BACKDATE,
    }


ENROLLER: Mapping[str, Any] = {
    "token_policies": [ENROL, REVOKE],
    "token_ttl": TOKEN_TTL,
    "token_type": "batch",
    "token_no_default_policy": True,
}
"""The AppRole of what runs all the time."""
ENROLLER_PATH = f"auth/approle/role/{ENROL}"
