"""Which identities a mesh desires: one for every service, and one for each of our own components."""

from collections.abc import Collection
from dataclasses import dataclass

from legation.mesh import names
from legation.mesh.model.mesh import Mesh


@dataclass(frozen=True, slots=True)
class IdentitySpec:
    """One identity: its name is also its role's in Vault. `ttl` is in seconds."""

    name: str
    spiffe_id: str
    ttl: int


AWAY_TTL = 3600
"""Seconds of life of what certmgr needs to ask for the mesh, which alone says how long certificates live."""


def plan(mesh: Mesh, chosen: Collection[str] = (), away: Collection[str] = ()) -> tuple[IdentitySpec, ...]:
    """Return the desired identities: services in the order of the file, then our components.

    Where some are chosen, it is those; `away` are components that have one as xds_server is on another host.
    """
    ttl = int(mesh.certificates.ttl.total_seconds())
    known = (*mesh.services, *names.COMPONENTS, *(name for name in names.AWAY if name in chosen))
    desired = [name for name in known if not chosen or name in chosen]
    return tuple(
        IdentitySpec(name, names.spiffe_id(mesh.trust_domain, name), ttl) for name in dict.fromkeys((*desired, *away))
    )
