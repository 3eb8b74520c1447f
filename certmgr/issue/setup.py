"""Makes Vault into the mesh's CA, as the plan says, with an operator's token that is kept nowhere.

Every step looks before it writes: set-up can be cut off anywhere and run again, and a second run
changes nothing and makes no second issuer (consul#18773).
"""

from collections.abc import Mapping
from typing import Any, assert_never

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certmgr.core import layout
from certmgr.core.layout import INT_MOUNT
from certmgr.core.setup import (
    INTERMEDIATE_HOURS,
    Authority,
    CannotSetUp,
    Seen,
    Step,
    limits,
    new_root,
    observed,
    plan,
)
from certmgr.core.verify import intermediate_faults
from certmgr.issue import csr
from certmgr.issue.vault import AppRole, Broken, Denied, Missing, Token, Vault, VaultError, pick

_MARGIN = 60
"""Seconds by which an intermediate ends before its root, at least."""
_ROUNDS = 6
"""Plans that are made one after the other; three are needed."""


_FOLDERS = (f"{INT_MOUNT}/roles", "sys/policies/acl")
"""Where others may have put what reaches our names."""


class Setup:
    """Set-up of one Vault, with the operator's token. Blocks."""

    def __init__(self, vault: Vault, token: Token) -> None:
        """Name the Vault and who sets it up; nothing is asked yet."""
        self._vault, self._token = vault, token
        self.changes: list[str] = []

    def observe(self, authority: Authority) -> Seen:
        """Return what is there."""
        at: dict[str, Mapping[str, Any]] = {}
        for path in observed(authority):
            found = self._look(path)
            if found is not None:
                at[path.removesuffix("/")] = found
        for mount in {authority.root_mount, INT_MOUNT}:
            for issuer in Seen(at).keys(f"{mount}/issuers"):
                at[f"{mount}/issuer/{issuer}"] = self._vault.read(self._token, f"{mount}/issuer/{issuer}") or {}
        return Seen(at)

    def plan(self, authority: Authority, now: float) -> tuple[Step, ...]:
        """Return what there is to do."""
        return plan(self.observe(authority), authority, now)

    def run(self, authority: Authority, now: float) -> x509.Certificate:
        """Bring everything to what is desired; return the root. `changes` then says what was done."""
        for _ in range(_ROUNDS):
            seen = self.observe(authority)
            steps = plan(seen, authority, now)
            if not steps:
                root = seen.root(authority)
                if root is None:
                    raise CannotSetUp(f"{authority.root_mount} has no root")
                return root
            for step in steps:
                if step.waits is None:
                    self._do(step, authority, now)
        left = ", ".join(f"{step.path} {[key for key, _, _ in step.changes]}" for step in steps)
        raise CannotSetUp(f"{self._vault.address} takes what is written, and then shows something else at {left}")

    def host_credentials(self, wrap_ttl: int = layout.WRAP_TTL) -> tuple[str, str]:
        """Return the role id of what runs all the time, and a token that its secret id is wrapped in."""
        return _wrapped(self._vault, self._token, layout.ENROLLER_PATH, wrap_ttl)

    def examine(self, authority: Authority) -> tuple[Seen, tuple[str, ...]]:
        """Return what is there, also what is not ours, and the paths that the token may not read."""
        at: dict[str, Mapping[str, Any]] = {}
        refused: list[str] = []

        def look(path: str) -> None:
            try:
                found = self._look(path)
            except Denied:
                refused.append(path.removesuffix("/"))
                return
            if found is not None:
                at[path.removesuffix("/")] = found

        for path in (*observed(authority), "sys/audit"):
            look(path)
        folders = (*dict.fromkeys((f"{authority.root_mount}/issuers", f"{INT_MOUNT}/issuers")), *_FOLDERS)
        for folder in folders:
            for key in Seen(at).keys(folder):
                path = f"{folder.removesuffix('s') if folder.endswith('issuers') else folder}/{key}"
                if path not in at:
                    look(path)
        return Seen(at), tuple(refused)

    def issuers(self, mount: str) -> tuple[Mapping[str, Any], ...]:
        """Return the issuers of a mount, each as Vault tells of it; none where there is no such mount."""
        keys = self._vault.keys(self._token, f"{mount}/issuers")
        return tuple(self._vault.read(self._token, f"{mount}/issuer/{key}") or {} for key in keys)

    def make_root(self, authority: Authority) -> None:
        """Make another root, under the name that the authority gives it."""
        self._vault.call(self._token, "post", f"{authority.root_mount}/{layout.MAKE_ROOT}", new_root(authority))

    def root_named(self, authority: Authority) -> x509.Certificate:
        """Return the root that an authority names; Missing where there is none."""
        return self._root(authority)

    def make_intermediate(self, authority: Authority, root: x509.Certificate, now: float) -> None:
        """Make another intermediate below a root, or go on with one whose making was cut off before it was named."""
        made = self._unnamed(authority)
        if made is None:
            self._import(self._new_intermediate(authority, root, now) + _pem(root))
            made = self._unnamed(authority)
        if made is None:
            raise CannotSetUp(f"{self._vault.address} takes an intermediate, and does not show it in {INT_MOUNT}")
        path = f"{INT_MOUNT}/issuer/{made['issuer_id']}"
        self._vault.call(self._token, "patch", path, limits(authority.issuer))

    def _unnamed(self, authority: Authority) -> Mapping[str, Any] | None:
        """Return the intermediate that was made for an authority and has no name yet."""
        called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, authority.called("intermediate"))])
        able = (i for i in self.issuers(INT_MOUNT) if i.get("key_id") and not i.get("issuer_name"))
        return next((i for i in able if _certificate(i).subject == called), None)

    def _look(self, path: str) -> Mapping[str, Any] | None:
        """Return what is at a path; None when nothing is, or when not even its mount is there yet."""
        if path.endswith("/"):
            found = self._vault.keys(self._token, path.removesuffix("/"))
            return {"keys": found} if found else None
        return self._vault.read(self._token, path)

    def _do(self, step: Step, authority: Authority, now: float) -> None:
        match step.act:
            case "write":
                self._vault.call(self._token, "post", step.path, step.body)
            case "patch":
                self._vault.call(self._token, "patch", step.path, step.body)
            case "delete":
                self._vault.call(self._token, "delete", step.path)
            case "intermediate":
                root = self._root(authority)
                self._import(self._new_intermediate(authority, root, now) + _pem(root))
            case "root in the chain":
                self._import(_pem(self._root(authority)))
            case _:
                assert_never(step.act)
        self.changes.append(f"{step.sign}{step.path}")

    def _root(self, authority: Authority) -> x509.Certificate:
        path = f"{authority.root_mount}/issuer/{authority.root_issuer}"
        found = self._vault.call(self._token, "get", path)
        return x509.load_pem_x509_certificate(pick(found, "data", "certificate").encode())

    def _new_intermediate(self, authority: Authority, root: x509.Certificate, now: float) -> str:
        """Return a new intermediate and its key, in PEM.

        Made here and not in the mount, as OpenBao 2.7.2 ignores `permitted_uri_domains` and the
        name constraint must be in the request. The key is imported and then nowhere else.
        """
        key = csr.new_key()
        name = authority.called("intermediate")
        answer = self._vault.call(
            self._token,
            "post",
            f"{authority.root_mount}/issuer/{authority.root_issuer}/sign-intermediate",
            {
                "csr": csr.intermediate_request(key, name, authority.trust_domain),
                "common_name": name,
                "use_csr_values": True,
                "max_path_length": 0,
                "ttl": f"{_life(root, now)}s",
                "format": "pem",
            },
        )
        certificate = x509.load_pem_x509_certificate(pick(answer, "data", "certificate").encode())
        if faults := intermediate_faults(certificate, root, authority.trust_domain, now):
            raise Broken(f"{self._vault.address}: {'; '.join(faults)}")
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return _pem(certificate) + private.decode()

    def _import(self, bundle: str) -> None:
        self._vault.call(self._token, "post", f"{INT_MOUNT}/issuers/import/bundle", {"pem_bundle": bundle})


class Enroller:
    """What runs all the time: gives each identity of the mesh its own way in, and takes it away again. Blocks."""

    def __init__(self, vault: Vault, token: Token) -> None:
        """Name the Vault; the token has the policy `mesh-enrol`."""
        self._vault, self._token = vault, token

    def deliver(self, name: str) -> AppRole:
        """Return new credentials of an identity's signer; the secret id travels wrapped, unseen on its way.

        Rejected when it was unwrapped before us: then it was intercepted.
        """
        path = layout.approle_path(name)
        self._vault.call(self._token, "post", path, layout.approle(name))
        role_id, wrapped = _wrapped(self._vault, self._token, path, layout.WRAP_TTL)
        return AppRole(role_id, pick(self._vault.unwrap(wrapped), "secret_id"), layout.kind_of(name).auth)

    def known(self, name: str) -> bool:
        """Say whether Vault has an AppRole for an identity."""
        return self._vault.read(self._token, layout.approle_path(name)) is not None

    def remove(self, name: str) -> None:
        """Take the right to sign from an identity that has left the mesh."""
        self._vault.call(self._token, "delete", layout.approle_path(name))


def root_of(vault: Vault) -> x509.Certificate:
    """Return the root that the intermediate's chain ends with; nobody needs a token for it. Blocks."""
    answer = vault.call(Token("", 0), "get", f"{INT_MOUNT}/issuer/default/json")
    chain = [x509.load_pem_x509_certificate(pem.encode()) for pem in pick(answer, "data", "ca_chain")]
    root = chain[-1]
    if root.issuer != root.subject:
        raise Missing(f"{vault.address}: the chain of {INT_MOUNT} ends without its root: run legation certs init")
    return root


def _life(root: x509.Certificate, now: float) -> int:
    """Return the seconds that an intermediate is to live: it may not outlive its root."""
    left = root.not_valid_after_utc.timestamp() - now
    return min(INTERMEDIATE_HOURS * 3600, int(left) - _MARGIN)


def _wrapped(vault: Vault, token: Token, role: str, ttl: int) -> tuple[str, str]:
    """Return an AppRole's role id, and a token that a new secret id of it is wrapped in."""
    role_id = pick(vault.call(token, "get", f"{role}/role-id"), "data", "role_id")
    wrapped = vault.call(token, "post", f"{role}/secret-id", {}, wrap_ttl=ttl)
    return role_id, pick(wrapped, "wrap_info", "token")


def _certificate(issuer: Mapping[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(str(issuer["certificate"]).encode())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


__all__ = ["Authority", "CannotSetUp", "Enroller", "Setup", "VaultError", "root_of"]
