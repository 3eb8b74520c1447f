"""What telemetry knows: the mesh and its instances, as xds_server last said. A value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.runtime.control.messages import Instance

Watch = Literal["instances", "mesh"]
WATCHES: tuple[Watch, ...] = ("instances", "mesh")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The newest mesh and instances (None: not heard yet), and of each watch whether it is up, and its last word.

    What was heard stays when a watch breaks: a Prometheus that loses its targets loses the mesh.
    `heard` holds seconds since the epoch.
    """

    mesh: Mesh | None = None
    instances: tuple[Instance, ...] | None = None
    connected: frozenset[Watch] = frozenset()
    heard: Mapping[Watch, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether both were heard once: before that, no list of targets would be true."""
        return self.mesh is not None and self.instances is not None


def services(mesh: Mesh) -> tuple[tuple[str, str], ...]:
    """Return (name, protocol) of each service, and of the gateway where something is exposed."""
    listed = [(name, str(service.protocol)) for name, service in mesh.services.items()]
    return (*listed, *([(names.GATEWAY, "gateway")] if mesh.exposed() else []))
