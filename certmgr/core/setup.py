"""What set-up would do to a Vault: from what is seen there to steps, without touching it.

A step whose content depends on an earlier one (an accessor, an issuer's id) is known only once that
one is done: `waits` names it, and the plan is made again then. A plan that is empty says that all is
as it should be.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography import x509

from certmgr.core import edge, layout
from certmgr.core.layout import INT_MOUNT, ISSUER, KINDS, ROOT_ISSUER, ROOT_MOUNT, Kind
from certmgr.core.policies import POLICIES
from certmgr.core.trust import anchor
from certmgr.core.verify import intermediate_faults

ROOT_HOURS = 87600
INTERMEDIATE_HOURS = 43800
DEV_HOURS = 7 * 24
"""The longest life of a root that is for trying things out."""
OLD_SIGNER = "mesh-sign-"
"""How the policies and AppRoles of an earlier layout begin: one of each a service."""
OLD_OPERATOR = "legation-operator"
"""The AppRole of an earlier layout that ran all the time, and could make itself administrator."""
UPGRADE = f"{OLD_SIGNER}init"
"""What takes a CA of that layout over; it removes itself."""
UNKNOWN = "(known once {} is there)"


class CannotSetUp(Exception):
    """What is there is somebody else's, or wrong in a way that set-up must not mend by itself."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Whose CA it is to be, and what the team decides about it. `dev` marks a root whose key is where services are."""

    mesh: str
    trust_domain: str
    dev: bool = False
    key: str = "ec-p256"
    max_ttl: int = 86400
    root_mount: str = ROOT_MOUNT
    root_issuer: str = ROOT_ISSUER
    issuer: str = ISSUER
    stored: bool = False
    """Vault keeps every leaf."""
    hosts: tuple[str, ...] = ()
    """The hosts that certmgr issues the gateway's certificates for, sorted."""

    @property
    def edge(self) -> edge.Grants:
        """What there is to be for the gateway's certificates."""
        return edge.Grants(self.hosts, free=self.dev)

    @property
    def root_hours(self) -> int:
        """How long a root of ours lives."""
        return (DEV_HOURS if self.dev else ROOT_HOURS) - 1

    @property
    def own_root(self) -> bool:
        """Whether the root is ours to make; else it is the team's, in another mount."""
        return self.root_mount == ROOT_MOUNT

    def called(self, what: Literal["root", "intermediate"]) -> str:
        """Return the common name of one of our CAs; later ones are numbered, as a list is found by its CA's name."""
        number = (self.root_issuer if what == "root" else self.issuer).rpartition("-")[2]
        later = f" {number}" if number.isdigit() and number != "1" else ""
        return f"Legation {'DEV ' if self.dev else ''}{what} of {self.mesh}{later}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is in a Vault: the data at each path; a path where nothing is, is not in it."""

    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def keys(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder."""
        return tuple(self.at.get(path, {}).get("keys") or ())

    def issuers(self, mount: str) -> tuple[Mapping[str, Any], ...]:
        """Return the issuers of a mount, each as Vault tells of it."""
        found = (self.at.get(f"{mount}/issuer/{issuer}") for issuer in self.keys(f"{mount}/issuers"))
        return tuple(issuer for issuer in found if issuer is not None)

    def signer(self) -> Mapping[str, Any] | None:
        """Return the intermediate that the roles sign with; before there are roles, the first one with a key."""
        able = [issuer for issuer in self.issuers(INT_MOUNT) if issuer.get("key_id")]
        pinned = {self.at.get(f"{INT_MOUNT}/roles/{kind.role}", {}).get("issuer_ref") for kind in KINDS}
        return next((i for i in able if i.get("issuer_name") in pinned), able[0] if able else None)

    def signs(self) -> str | None:
        """Return what that intermediate is called; None while it has no name."""
        signer = self.signer()
        return None if signer is None else signer.get("issuer_name") or None

    def root(self, authority: Authority) -> x509.Certificate | None:
        """Return the root: after a roll-over the one above the intermediate in use. None when there is none yet."""
        issuers, signer = self.issuers(authority.root_mount), self.signer()
        roots = [_certificate(issuer) for issuer in issuers if issuer.get("certificate")]
        if signer is not None and (above := anchor(_certificate(signer), roots)) is not None:
            return above
        named = (i for i in issuers if i.get("issuer_name") == authority.root_issuer)
        return next((_certificate(issuer) for issuer in named), None)

    def accessor(self, kind: Kind) -> str | None:
        """Return the accessor of a kind's AppRole mount; None when it is not mounted yet."""
        return (self.at.get("sys/auth", {}).get(f"{kind.auth}/") or {}).get("accessor")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `act` is how; `changes` is what becomes of each field, for those who read the plan."""

    act: Literal["write", "patch", "delete", "intermediate", "root in the chain"]
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)
    waits: str | None = None
    changes: tuple[tuple[str, Any, Any], ...] = ()

    @property
    def sign(self) -> str:
        """`+` makes something, `~` changes it, `-` removes it."""
        if self.act == "delete":
            return "-"
        return "~" if any(before is not None for _, before, _ in self.changes) or self.act == "patch" else "+"


def observed(authority: Authority) -> tuple[str, ...]:
    """Return the paths to read before a plan is made; the folders among them end with a slash."""
    return (
        "sys/mounts",
        "sys/auth",
        "sys/policies/acl/",
        *(f"sys/policies/acl/{name}" for name in POLICIES),
        f"{authority.root_mount}/issuers/",
        f"{INT_MOUNT}/issuers/",
        *(f"{INT_MOUNT}/config/{what}" for what in ("issuers", "crl", "auto-tidy")),
        f"{INT_MOUNT}/roles/",
        *(f"{INT_MOUNT}/roles/{kind.role}" for kind in KINDS),
        "auth/approle/role/",
        layout.ENROLLER_PATH,
        *edge.OBSERVED,
    )


def plan(seen: Seen, authority: Authority, now: float) -> tuple[Step, ...]:
    """Return what there is to do, in order; CannotSetUp when what is there must be looked at by somebody first."""
    return tuple(
        step
        for part in (_mounts, _authorities, _lists, _policies, _auths, _roles, _edge, _enroller, _earlier)
        for step in part(seen, authority, now)
    )


def _mounts(seen: Seen, authority: Authority, _: float) -> Iterator[Step]:
    hours = {ROOT_MOUNT: ROOT_HOURS, INT_MOUNT: INTERMEDIATE_HOURS}
    for path in (ROOT_MOUNT, INT_MOUNT) if authority.own_root else (INT_MOUNT,):
        found = seen.at.get("sys/mounts", {}).get(f"{path}/")
        if found is None:
            config = {"max_lease_ttl": f"{hours[path]}h", **_AUDITED}
            yield Step("write", f"sys/mounts/{path}", {"type": "pki", "config": config})
        elif found.get("type") != "pki":
            raise CannotSetUp(f"{path}/ is a {found.get('type')} engine, and the mesh's CA goes there: move it")
        else:
            yield from _ensure(f"sys/mounts/{path}/tune", found.get("config") or {}, _AUDITED)


_AUDITED = {
    "audit_non_hmac_request_keys": ["uri_sans", "ttl", "serial_number"],
    "audit_non_hmac_response_keys": ["serial_number", "expiration"],
}
"""What an audit device writes in clear: else who was issued what can be found by no one."""


def _authorities(seen: Seen, authority: Authority, now: float) -> Iterator[Step]:
    """See to the root and the one intermediate: adopt what an earlier run made, else make it."""
    root = seen.root(authority)
    if root is None:
        if not authority.own_root or seen.issuers(ROOT_MOUNT):
            raise CannotSetUp(
                f"{authority.root_mount} has no issuer called {authority.root_issuer}: "
                f"give the root that is to sign this name (PATCH {authority.root_mount}/issuer/ID issuer_name=…)"
            )
        yield Step("write", f"{ROOT_MOUNT}/{layout.MAKE_ROOT}", new_root(authority))
    signer = seen.signer()
    if signer is None:
        called = {"common_name": authority.called("intermediate")}
        yield Step("intermediate", f"{INT_MOUNT}/issuers/import/bundle", called)
        yield Step("patch", f"{INT_MOUNT}/issuer/…", limits(authority.issuer), waits="the intermediate")
        return
    if root is None:
        raise CannotSetUp(
            f"{INT_MOUNT} has an intermediate, but {ROOT_MOUNT} no root: is this the right Vault, or "
            "is the root one of yours (--root MOUNT/ISSUER)"
        )
    if faults := intermediate_faults(_certificate(signer), root, authority.trust_domain, now):
        raise CannotSetUp(f"issuer {signer['issuer_id']} of {INT_MOUNT}: {'; '.join(faults)}")
    yield from _named(seen, signer, root, authority)


def _named(seen: Seen, signer: Mapping[str, Any], root: x509.Certificate, authority: Authority) -> Iterator[Step]:
    """Name and bound the intermediate; its root is beside it, so that every host can read the whole chain."""
    identity = signer["issuer_id"]
    # PATCH: a POST would wipe what it does not name
    named = limits(str(signer.get("issuer_name") or authority.issuer))
    yield from _ensure(f"{INT_MOUNT}/issuer/{identity}", signer, named, act="patch")
    desired = {"default": identity, "default_follows_latest_issuer": False}
    yield from _ensure(f"{INT_MOUNT}/config/issuers", seen.at.get(f"{INT_MOUNT}/config/issuers", {}), desired)
    if root not in [_certificate(issuer) for issuer in seen.issuers(INT_MOUNT)]:
        yield Step("root in the chain", f"{INT_MOUNT}/issuers/import/bundle")


def limits(issuer: str) -> Mapping[str, Any]:
    """Return how an intermediate is called and bounded."""
    return {"issuer_name": issuer, "leaf_not_after_behavior": "truncate"}


def new_root(authority: Authority) -> Mapping[str, Any]:
    """Return what makes a root."""
    return {
        "common_name": authority.called("root"),
        "issuer_name": authority.root_issuer,
        "key_name": authority.root_issuer,
        "key_type": "ec",
        "key_bits": 256,
        "ttl": f"{authority.root_hours}h",
        "max_path_length": 1,
        "permitted_uri_domains": authority.trust_domain,
    }


def _lists(seen: Seen, _: Authority, __: float) -> Iterator[Step]:
    """Keep the list of revoked certificates alive by itself, and the mount free of what has expired."""
    hours = layout.CRL_HOURS
    crl = {"auto_rebuild": True, "auto_rebuild_grace_period": f"{hours // 2}h", "expiry": f"{hours}h"}
    tidy = {"enabled": True, "tidy_cert_store": True, "tidy_revoked_certs": True, "safety_buffer": 72 * 3600}
    for what, desired in (("crl", crl), ("auto-tidy", tidy)):
        path = f"{INT_MOUNT}/config/{what}"
        yield from _ensure(path, seen.at.get(path, {}), desired)


def _policies(seen: Seen, authority: Authority, __: float) -> Iterator[Step]:
    for name, text in {**POLICIES, **authority.edge.policies}.items():
        path = f"sys/policies/acl/{name}"
        yield from _ensure(path, seen.at.get(path, {}), {"policy": text})


def _auths(seen: Seen, authority: Authority, __: float) -> Iterator[Step]:
    for auth in ("approle", *(kind.auth for kind in (*KINDS, *authority.edge.kinds))):
        found = seen.at.get("sys/auth", {}).get(f"{auth}/")
        if found is None:
            yield Step("write", f"sys/auth/{auth}", {"type": "approle"})
        elif found.get("type") != "approle":
            raise CannotSetUp(f"auth/{auth}/ is of type {found.get('type')} and not approle: move it")


def _roles(seen: Seen, authority: Authority, _: float) -> Iterator[Step]:
    issuer = seen.signs() or authority.issuer
    for kind in KINDS:
        accessor = seen.accessor(kind)
        path = f"{INT_MOUNT}/roles/{kind.role}"
        known = accessor or UNKNOWN.format(f"auth/{kind.auth}")
        desired = layout.role(
            kind, authority.trust_domain, known, authority.key, authority.max_ttl, issuer, stored=authority.stored
        )
        ready = accessor is not None and seen.signs() is not None
        waits = None if ready else f"auth/{kind.auth}" if accessor is None else f"issuer {issuer}"
        yield from _ensure(path, seen.at.get(path, {}), desired, waits=waits)


def _edge(seen: Seen, authority: Authority, _: float) -> Iterator[Step]:
    """See to the role that signs for the gateway's hosts; it is taken away where there are none."""
    found = seen.at.get(edge.ROLE_PATH, {})
    known = seen.signs()
    issuer = known or authority.issuer
    desired = authority.edge.role(authority.key, authority.max_ttl, found, issuer, stored=authority.stored)
    if desired is None:
        yield from (Step("delete", path) for path in (edge.ROLE_PATH,) if found)
        return
    yield from _ensure(edge.ROLE_PATH, found, desired, waits=None if known else f"issuer {issuer}")


def _enroller(seen: Seen, authority: Authority, __: float) -> Iterator[Step]:
    policies = sorted((*layout.ENROLLER["token_policies"], *authority.edge.enroller))
    desired = {**layout.ENROLLER, "token_policies": policies}
    yield from _ensure(layout.ENROLLER_PATH, seen.at.get(layout.ENROLLER_PATH, {}), desired)


def _earlier(seen: Seen, _: Authority, __: float) -> Iterator[Step]:
    """Take away what an earlier layout set up: AppRoles first, as they are the way in."""
    approles = [name for name in seen.keys("auth/approle/role") if _is_earlier(name)]
    policies = [name for name in seen.keys("sys/policies/acl") if _is_earlier(name)]
    services = {name.removeprefix(OLD_SIGNER) for name in (*approles, *policies)}
    roles = [name for name in seen.keys(f"{INT_MOUNT}/roles") if name in services - {kind.role for kind in KINDS}]
    found = {"auth/approle/role": approles, f"{INT_MOUNT}/roles": roles, "sys/policies/acl": policies}
    for folder, names in found.items():
        yield from (Step("delete", f"{folder}/{name}") for name in names)


def _is_earlier(name: str) -> bool:
    """Say whether a policy or an AppRole is of the earlier layout."""
    return name == OLD_OPERATOR or (name.startswith(OLD_SIGNER) and name not in {*POLICIES, *edge.POLICIES, UPGRADE})


def _ensure(
    path: str,
    found: Mapping[str, Any],
    desired: Mapping[str, Any],
    *,
    act: Literal["write", "patch"] = "write",
    waits: str | None = None,
) -> Iterator[Step]:
    """Write what is not there as desired; an empty list and none are the same to Vault."""
    changes = tuple(
        (key, found.get(key), value) for key, value in desired.items() if (found.get(key) or None) != (value or None)
    )
    if changes:
        yield Step(act, path, desired, waits, changes)


def _certificate(issuer: Mapping[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(str(issuer["certificate"]).encode())
