"""The operator's steps of a roll-over in Vault, each to be run again at any time, and what a host reads of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cryptography import x509

from certmgr.core.layout import EDGE, INT_MOUNT, KINDS, ROOT_ISSUER, ROOT_MOUNT
from certmgr.core.rollover import kept, left
from certmgr.core.setup import Authority, CannotSetUp
from certmgr.core.trust import fingerprint, signed_by
from certmgr.issue.crl import certificate_of
from certmgr.issue.setup import Setup
from certmgr.issue.vault import Token, Vault, pick
from legation.mesh.rollover import CaRef, Rollover

_NOBODY = Token("", 0)
_SIGNS = "read-only,issuing-certificates,crl-signing,ocsp-signing"
_RETIRED = "read-only,crl-signing,ocsp-signing"
"""What an issuer is good for that signs no certificates any more: its list must be kept up to its last leaf's end."""


class WrongCa(Exception):
    """Vault shows another CA than the one that is meant."""


def ca_of(vault: Vault, ca: CaRef) -> tuple[x509.Certificate, x509.Certificate]:
    """Return the intermediate and the root of a CA, as Vault shows them to anybody; WrongCa when it is another."""
    found = pick(vault.call(_NOBODY, "get", f"{INT_MOUNT}/issuer/{ca.issuer}/json"), "data", "ca_chain")
    chain = [x509.load_pem_x509_certificate(str(pem).encode()) for pem in found]
    if fingerprint(chain[0]) != ca.intermediate or fingerprint(chain[-1]) != ca.root:
        raise WrongCa(
            f"{vault.address} shows another CA as {ca.issuer} than the roll-over is to: "
            f"{fingerprint(chain[0])[:16]}… and not {ca.intermediate[:16]}…"
        )
    return chain[0], chain[-1]


def present_ca(vault: Vault, url: str) -> CaRef:
    """Return the CA whose certificates a Vault signs now, as it tells anybody."""
    answer = pick(vault.call(_NOBODY, "get", f"{INT_MOUNT}/issuer/default/json"), "data", "ca_chain")
    chain = [x509.load_pem_x509_certificate(str(pem).encode()) for pem in answer]
    listed = pick(vault.call(_NOBODY, "list", f"{INT_MOUNT}/issuers"), "data", "key_info")
    names = {fingerprint(certificate_of(vault, key)): str(info["issuer_name"]) for key, info in listed.items()}
    found = fingerprint(chain[0])
    return CaRef(
        issuer=names[found], root_issuer=ROOT_ISSUER, intermediate=found, root=fingerprint(chain[-1]), vault=url
    )


class Operator:
    """Somebody with a token that may set the CA up. Blocks."""

    def __init__(self, vault: Vault, token: Token, setup: Setup, authority: Authority) -> None:
        """Name the Vault and who works on it."""
        self._vault, self._token, self._setup, self._authority = vault, token, setup, authority

    def present(self) -> CaRef:
        """Return the CA that signs now; CannotSetUp where there is none."""
        seen = self._setup.observe(self._authority)
        signer = seen.signer()
        root = seen.root(self._authority)
        if signer is None or root is None:
            raise CannotSetUp(f"{self._vault.address} has no CA of this mesh: set it up with legation certs init")
        mount = self._authority.root_mount
        named = (i for i in seen.issuers(mount) if _certificate(i) == root)
        called = next((str(i.get("issuer_name") or i["issuer_id"]) for i in named), self._authority.root_issuer)
        return CaRef(
            issuer=str(signer["issuer_name"]),
            root_issuer=called,
            root_mount=mount,
            intermediate=fingerprint(_certificate(signer)),
            root=fingerprint(root),
        )

    def prepare(self, rollover: Rollover, now: float) -> CaRef:
        """Make the new CA, or take what an earlier try has made of it; return it with its fingerprints."""
        new = rollover.new
        if rollover.kind == "vault":
            return self._set_up(new, now)
        authority = replace(self._authority, root_mount=new.root_mount, root_issuer=new.root_issuer, issuer=new.issuer)
        if rollover.kind == "root" and new.root_mount == ROOT_MOUNT and not self._has(ROOT_MOUNT, new.root_issuer):
            self._setup.make_root(authority)
        root = self._setup.root_named(authority)
        if not self._has(INT_MOUNT, new.issuer):
            self._setup.make_intermediate(authority, root, now)
        chain = pick(self._read(f"{INT_MOUNT}/issuer/{new.issuer}"), "certificate")
        intermediate = x509.load_pem_x509_certificate(str(chain).encode())
        if not signed_by(intermediate, root):
            raise CannotSetUp(f"{INT_MOUNT}/issuer/{new.issuer} is not signed by {new.root_mount}/{new.root_issuer}")
        return replace(new, intermediate=fingerprint(intermediate), root=fingerprint(root))

    def _set_up(self, new: CaRef, now: float) -> CaRef:
        """Make another Vault into the mesh's CA; one that is one already stays as it is."""
        authority = replace(self._authority, root_issuer=new.root_issuer, issuer=new.issuer)
        self._setup.run(authority, now)
        return replace(self.present(), vault=new.vault)

    def switch(self, rollover: Rollover) -> None:
        """Have the roles sign with the CA that stays."""
        issuer = kept(rollover).issuer
        self._usage(INT_MOUNT, issuer, _SIGNS)  # on its way back it may have been retired
        there = self._vault.keys(self._token, f"{INT_MOUNT}/roles")
        for role in (kind.role for kind in (*KINDS, EDGE)):
            if role in there:
                self._vault.call(self._token, "patch", f"{INT_MOUNT}/roles/{role}", {"issuer_ref": issuer})
        default = {"default": self._read(f"{INT_MOUNT}/issuer/{issuer}")["issuer_id"]}
        body = {**default, "default_follows_latest_issuer": False}
        self._vault.call(self._token, "post", f"{INT_MOUNT}/config/issuers", body)

    def retire(self, rollover: Rollover) -> None:
        """Take the right to sign certificates from the CA that is left behind; its lists go on."""
        gone = left(rollover)
        self._usage(INT_MOUNT, gone.issuer, _RETIRED)

    def _usage(self, mount: str, issuer: str, usage: str) -> None:
        # PATCH: a POST would wipe what it does not name
        self._vault.call(self._token, "patch", f"{mount}/issuer/{issuer}", {"usage": usage})

    def _has(self, mount: str, issuer: str) -> bool:
        return any(i.get("issuer_name") == issuer for i in self._setup.issuers(mount))

    def _read(self, path: str) -> Mapping[str, Any]:
        return dict(pick(self._vault.call(self._token, "get", path), "data"))


def _certificate(issuer: Mapping[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(str(issuer["certificate"]).encode())
