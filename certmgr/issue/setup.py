"""Makes Vault into the mesh's CA, and keeps it so: mounts, root, intermediate, one role, policy and AppRole a service.

Every step looks before it writes: set-up can be cut off anywhere and run again, and a second run
changes nothing and makes no second issuer (consul#18773). It runs as the operator, who can set
roles up but can sign no leaf.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certmgr.core.plan import Wanted
from certmgr.core.verify import intermediate_faults
from certmgr.issue import csr, roles
from certmgr.issue.vault import AppRole, Broken, Token, Vault, pick
from certmgr.openbao import INT_MOUNT, ROOT_MOUNT, SIGNER_PREFIX

ROOT_ISSUER = "root-1"

_ROOT_HOURS = 87600
_INTERMEDIATE_HOURS = 43800
_WRAP_TTL = 60
"""Seconds that a wrapped secret id waits for its one unwrapping."""


class ForeignIssuer(Exception):
    """An issuer with our name that is not as we make it; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Whose CA it is to be."""

    mesh: str
    trust_domain: str


class Setup:
    """Set-up of one Vault, with the operator's token. Blocks."""

    def __init__(self, vault: Vault, token: Token) -> None:
        """Name the Vault and who sets it up; nothing is asked yet."""
        self._vault, self._token = vault, token
        self.changes: list[str] = []

    def run(self, authority: Authority, wanted: Sequence[Wanted], now: float) -> x509.Certificate:
        """Bring everything to what is wanted; return the root. `changes` then says what was done."""
        self._mount(ROOT_MOUNT, _ROOT_HOURS)
        self._mount(INT_MOUNT, _INTERMEDIATE_HOURS)
        root = self._root(authority)
        self._intermediate(authority, root, now)
        if "approle/" not in (self._vault.read(self._token, "sys/auth") or {}):
            self._write("sys/auth/approle", {"type": "approle"})
        for identity in wanted:
            self._identity(identity)
        self._remove_others({identity.name for identity in wanted})
        return root

    def deliver(self, name: str) -> AppRole:
        """Return new credentials of a service's signer; the secret id travels wrapped, unseen on its way.

        Rejected when it was unwrapped before us: then it was intercepted.
        """
        path = f"auth/approle/role/{roles.signer(name)}"
        role_id = pick(self._vault.call(self._token, "get", f"{path}/role-id"), "data", "role_id")
        wrapped = self._vault.call(self._token, "post", f"{path}/secret-id", {}, wrap_ttl=_WRAP_TTL)
        secret = self._vault.unwrap(pick(wrapped, "wrap_info", "token"))
        return AppRole(role_id, pick(secret, "secret_id"))

    def _mount(self, path: str, hours: int) -> None:
        if f"{path}/" not in (self._vault.read(self._token, "sys/mounts") or {}):
            self._write(f"sys/mounts/{path}", {"type": "pki", "config": {"max_lease_ttl": f"{hours}h"}})

    def _root(self, authority: Authority) -> x509.Certificate:
        """Return the root; make it where there is none. DEV: its key is where services are set up, not in an HSM."""
        if not self._vault.keys(self._token, f"{ROOT_MOUNT}/issuers"):
            self._write(
                f"{ROOT_MOUNT}/root/generate/internal",
                {
                    "common_name": f"Legation DEV root of {authority.mesh}",
                    "issuer_name": ROOT_ISSUER,
                    "key_name": ROOT_ISSUER,
                    "key_type": "ec",
                    "key_bits": 256,
                    "ttl": f"{_ROOT_HOURS - 1}h",
                    "max_path_length": 1,
                },
            )
        found = self._vault.read(self._token, f"{ROOT_MOUNT}/issuer/{ROOT_ISSUER}")
        if found is None:
            raise ForeignIssuer(f"{ROOT_MOUNT} has issuers, but none called {ROOT_ISSUER}: was it set up by hand")
        return x509.load_pem_x509_certificate(found["certificate"].encode())

    def _intermediate(self, authority: Authority, root: x509.Certificate, now: float) -> None:
        """See to the one intermediate: adopt what an earlier run made, else make it."""
        signer = next((issuer for issuer in self._issuers() if issuer["key_id"]), None)
        if signer is None:
            self._import(self._new_intermediate(authority, root, now))
            signer = next(issuer for issuer in self._issuers() if issuer["key_id"])
        certificate = x509.load_pem_x509_certificate(signer["certificate"].encode())
        if faults := intermediate_faults(certificate, root, authority.trust_domain, now):
            raise ForeignIssuer(f"issuer {signer['issuer_id']} of {INT_MOUNT}: {'; '.join(faults)}")
        limits = {"issuer_name": roles.ISSUER, "leaf_not_after_behavior": "truncate"}
        if not _holds(signer, limits):
            # PATCH: a POST would wipe what it does not name
            self._vault.call(self._token, "patch", f"{INT_MOUNT}/issuer/{signer['issuer_id']}", limits)
            self.changes.append(f"{INT_MOUNT}/issuer")
        self._ensure(
            f"{INT_MOUNT}/config/issuers", {"default": signer["issuer_id"], "default_follows_latest_issuer": False}
        )

    def _issuers(self) -> list[Mapping[str, Any]]:
        found = (
            self._vault.read(self._token, f"{INT_MOUNT}/issuer/{issuer}")
            for issuer in self._vault.keys(self._token, f"{INT_MOUNT}/issuers")
        )
        return [issuer for issuer in found if issuer is not None]

    def _new_intermediate(self, authority: Authority, root: x509.Certificate, now: float) -> str:
        """Return a new intermediate and its key, in PEM.

        Made here and not in the mount, as OpenBao 2.7.2 ignores `permitted_uri_domains` and the
        name constraint must be in the request. The key is imported and then nowhere else.
        """
        key = csr.new_key()
        name = f"Legation DEV intermediate of {authority.mesh}"
        answer = self._vault.call(
            self._token,
            "post",
            f"{ROOT_MOUNT}/issuer/{ROOT_ISSUER}/sign-intermediate",
            {
                "csr": csr.intermediate_request(key, name, authority.trust_domain),
                "common_name": name,
                "use_csr_values": True,
                "max_path_length": 0,
                "ttl": f"{_INTERMEDIATE_HOURS}h",
                "format": "pem",
            },
        )
        certificate = x509.load_pem_x509_certificate(pick(answer, "data", "certificate").encode())
        if faults := intermediate_faults(certificate, root, authority.trust_domain, now):
            raise Broken(f"{self._vault.address}: {'; '.join(faults)}")
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM).decode() + private.decode()

    def _import(self, bundle: str) -> None:
        self._write(f"{INT_MOUNT}/issuers/import/bundle", {"pem_bundle": bundle})

    def _identity(self, wanted: Wanted) -> None:
        """Bring one service's policy, role and AppRole to what is wanted."""
        signer = roles.signer(wanted.name)
        self._ensure(f"sys/policies/acl/{signer}", {"policy": roles.policy(wanted)})
        self._ensure(f"{INT_MOUNT}/roles/{wanted.name}", roles.role(wanted))
        self._ensure(f"auth/approle/role/{signer}", roles.approle(wanted))

    def _remove_others(self, names: set[str]) -> None:
        """Take the right to sign from services that have left the mesh: AppRole first, as that is the way in."""
        signers = {roles.signer(name) for name in names}
        for folder, kept in (
            ("auth/approle/role", signers),
            (f"{INT_MOUNT}/roles", names),
            ("sys/policies/acl", signers),
        ):
            for key in self._vault.keys(self._token, folder):
                ours = folder.startswith(INT_MOUNT) or key.startswith(SIGNER_PREFIX)
                if ours and key not in kept:
                    self._vault.call(self._token, "delete", f"{folder}/{key}")
                    self.changes.append(f"-{folder}/{key}")

    def _ensure(self, path: str, wanted: Mapping[str, Any]) -> None:
        """Write what is not there as wanted."""
        if not _holds(self._vault.read(self._token, path) or {}, wanted):
            self._write(path, wanted)

    def _write(self, path: str, body: Mapping[str, Any]) -> None:
        self._vault.call(self._token, "post", path, body)
        self.changes.append(path)


def _holds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Say whether everything that is wanted is there so; an empty list and none are the same to Vault."""
    return all((found.get(key) or None) == (value or None) for key, value in wanted.items())
