"""Which identities a mesh desires: one for every service, and one for each of our own components."""

from dataclasses import dataclass

from legation.mesh import names
from legation.mesh.model.mesh import Mesh


@dataclass(frozen=True, slots=True)
class IdentitySpec:
    """One identity: its name is also its role's in Vault. `ttl` is in seconds."""

    name: str
    spiffe_id: str
    ttl: int


def plan(mesh: Mesh) -> tuple[IdentitySpec, ...]:
    """Return the desired identities: services in the order of the file, then our components."""
    ttl = int(mesh.certificates.ttl.total_seconds())
    return tuple(
        IdentitySpec(name, names.spiffe_id(mesh.trust_domain, name), ttl)
        for name in (*mesh.services, *names.COMPONENTS)
    )
