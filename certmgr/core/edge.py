"""What a mesh has in Vault for the certificates that certmgr issues for the gateway: a role for its hosts alone.

The role signs for exactly the hosts that mesh.yaml exposes, and for nothing that the mesh itself would
take: no URI, and only to be shown by a server. With the team's own Vault the hosts are an operator's to
write, as any other right. The embedded OpenBao has no operator: there a host may change this one field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certmgr.core import layout
from certmgr.core.bundle import Bundle
from certmgr.core.layout import EDGE, ENROL, INT_MOUNT, Kind, approle_path
from certmgr.core.policies import Rule, enrol_rules, text
from certmgr.core.verify import unsound
from legation.mesh import names
from legation.mesh.model.mesh import Mesh

ROLE_PATH = f"{INT_MOUNT}/roles/{EDGE.role}"
ENROL_EDGE = f"{ENROL}-edge"
"""The policy that lets a host have credentials of the role's one signer."""
HOSTS = f"{ENROL}-hosts"
"""The policy that lets a host say which hosts the role is for: of an embedded OpenBao alone."""
OBSERVED = (ROLE_PATH, *(f"sys/policies/acl/{name}" for name in (EDGE.policy, ENROL_EDGE, HOSTS)))


@dataclass(frozen=True, slots=True)
class EdgeSpec:
    """The certificate that the gateway shows for a service; `ttl` is in seconds."""

    service: str
    hosts: tuple[str, ...]
    ttl: int


def edge_plan(mesh: Mesh) -> tuple[EdgeSpec, ...]:
    """Return the certificates that certmgr is to have issued for the gateway."""
    ttl = int(mesh.certificates.ttl.total_seconds())
    exposed = ((name, service.expose) for name, service in mesh.services.items() if service.expose)
    return tuple(EdgeSpec(name, e.hosts, ttl) for name, e in exposed if e.tls is not None and e.tls.issuer)


def edge_hosts(mesh: Mesh) -> tuple[str, ...]:
    """Return every host that they are for, sorted."""
    return tuple(sorted({host for spec in edge_plan(mesh) for host in spec.hosts}))


@dataclass(frozen=True, slots=True)
class Grants:
    """What there is to be in Vault for these hosts. `free`: hosts come and go without an operator."""

    hosts: tuple[str, ...]
    free: bool

    @property
    def desired(self) -> bool:
        """Whether there is to be anything at all."""
        return self.free or bool(self.hosts)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds beside those that every mesh has."""
        return (EDGE,) if self.desired else ()

    @property
    def enroller(self) -> tuple[str, ...]:
        """The policies beside its own of what runs all the time on a host."""
        return tuple(name for name in self.policies if name != EDGE.policy)

    @property
    def policies(self) -> Mapping[str, str]:
        """The policies, by name."""
        if not self.desired:
            return {}
        return {name: POLICIES[name] for name in (EDGE.policy, ENROL_EDGE, *((HOSTS,) if self.free else ()))}

    def role(
        self, key: str, max_ttl: int, found: Mapping[str, Any], issuer: str, *, stored: bool = False
    ) -> Mapping[str, Any] | None:
        """Return the role; None where there is to be none. Hosts that are `found` stay where they may come and go."""
        if not self.desired:
            return None
        wildcards = self.free or any(h.startswith("*.") for h in self.hosts)
        desired = {
            **_role(key, max_ttl, self.hosts, issuer, wildcards=wildcards),
            "no_store": not stored,
        }
        return {**desired, "allowed_domains": found["allowed_domains"]} if self.free and found else desired


def _role(key: str, max_ttl: int, hosts: tuple[str, ...], issuer: str, *, wildcards: bool) -> Mapping[str, Any]:
    """Return a role for these very hosts: not for what is below them, nor for any other kind of name."""
    return {
        **layout.role(EDGE, "", "", key, max_ttl, issuer),
        "allowed_uri_sans": [],
        "allowed_uri_sans_template": False,
        "client_flag": False,
        "allowed_domains": list(hosts),
        "allowed_domains_template": False,
        "allow_bare_domains": True,
        "allow_subdomains": False,
        "allow_glob_domains": False,
        "allow_wildcard_certificates": wildcards,
        "enforce_hostnames": True,
    }


def _sign_policy() -> str:
    asked = '"csr" = [] "alt_names" = [] "ttl" = [] "format" = ["pem"] "common_name" = [""]'
    return text(
        (
            Rule(f"{INT_MOUNT}/sign/{EDGE.role}", "update", f'{asked} "remove_roots_from_chain" = []'),
            Rule(ROLE_PATH, "read"),
        )
    )


POLICIES: Mapping[str, str] = {
    EDGE.policy: _sign_policy(),
    ENROL_EDGE: text(enrol_rules(EDGE, approle_path(names.EDGE))),
    HOSTS: text((Rule(ROLE_PATH, "read patch", '"allowed_domains" = []'),)),
}
"""Every policy that there may be, by name."""


def edge_faults(bundle: Bundle, spec: EdgeSpec, pinned: x509.Certificate, now: float) -> tuple[str, ...]:
    """Return all that is wrong with a certificate that came back; empty when it can be shown to clients."""
    found = list(unsound(bundle, pinned, now))
    if _names(bundle.leaf) != {x509.DNSName(host) for host in spec.hosts}:
        found.append(f"its names are not {', '.join(spec.hosts)} alone")
    purposes = _extension(bundle.leaf, x509.ExtendedKeyUsage)
    if purposes is None or set(purposes) != {ExtendedKeyUsageOID.SERVER_AUTH}:
        found.append("its extended key usage is not server authentication alone")
    return tuple(found)


def _names(leaf: x509.Certificate) -> set[x509.GeneralName]:
    return set(_extension(leaf, x509.SubjectAlternativeName) or ())


def _extension(
    leaf: x509.Certificate, kind: type[x509.extensions.ExtensionTypeVar]
) -> x509.extensions.ExtensionTypeVar | None:
    """Return an extension's value; None where there is none."""
    try:
        return leaf.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
