"""What Vault is told of one service: a role that can sign for its name alone, and who may use that role."""

from collections.abc import Mapping
from typing import Any

from certmgr.core.plan import Wanted
from certmgr.core.schedule import BACKDATE
from certmgr.openbao import INT_MOUNT, SIGNER_PREFIX

ISSUER = "int-1"
"""The intermediate that roles sign with; pinned, never `default` (consul#15217)."""

TOKEN_TTL = 600
"""Seconds that a signer's token lives."""


def signer(name: str) -> str:
    """Return the name of the policy and the AppRole that may use a role."""
    return f"{SIGNER_PREFIX}{name}"


def role(wanted: Wanted) -> Mapping[str, Any]:
    """Return the role of an identity: whatever the request says, the leaf has this one URI and nothing else.

    `no_store`: a mesh signs too often for Vault to keep every leaf (vault#8994).
    """
    return {
        "issuer_ref": ISSUER,
        "ttl": wanted.ttl,
        "max_ttl": wanted.ttl,
        "key_type": "ec",
        "key_bits": 256,
        "allowed_uri_sans": [wanted.spiffe_id],
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
        "key_usage": ["DigitalSignature"],
        "no_store": True,
        "generate_lease": False,
        "not_before_duration": BACKDATE,
    }


def policy(wanted: Wanted) -> str:
    """Return the policy of an identity's signer: its own role, for its own name, and nothing else."""
    return (
        f'path "{INT_MOUNT}/sign/{wanted.name}" {{\n'
        '  capabilities = ["update"]\n'
        "  allowed_parameters = {\n"
        '    "csr" = []\n'
        f'    "uri_sans" = ["{wanted.spiffe_id}"]\n'
        '    "ttl" = []\n'
        '    "format" = ["pem"]\n'
        '    "common_name" = [""]\n'
        '    "remove_roots_from_chain" = []\n'
        "  }\n"
        "}\n"
    )


def approle(wanted: Wanted) -> Mapping[str, Any]:
    """Return the AppRole of an identity's signer."""
    return {
        "token_policies": [signer(wanted.name)],
        "token_ttl": TOKEN_TTL,
        "token_type": "batch",
        "token_no_default_policy": True,
        "secret_id_num_uses": 0,
        "secret_id_ttl": 0,
    }
