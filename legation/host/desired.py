"""Which instances a mesh desires on this host, the gateway's among them, and where each is. No I/O."""

from collections.abc import Iterable, Mapping

from legation.mesh import names
from legation.mesh.desired import DesiredMesh, Exposed, ReplicaSet, WorkloadSpec

GATEWAYS = 2
"""Gateways that share the port: when one dies, the other serves whoever connects."""

_GATEWAY_VERSION = "v1"


def replica_sets(mesh: DesiredMesh, chosen: Mapping[str, int]) -> tuple[ReplicaSet, ...]:
    """Return the gateways, where something is exposed, and every workload, in the order of the file.

    `chosen` are gateway ports that stay whatever mesh.yaml says; all others follow it without a restart.
    """
    if not mesh.exposed:
        return mesh.replica_sets
    spec = WorkloadSpec(names.GATEWAY, _GATEWAY_VERSION, ports=tuple(sorted(chosen.items())))
    return (ReplicaSet(spec, GATEWAYS), *mesh.replica_sets)


def gateway_ports(exposed: Iterable[Exposed], chosen: Mapping[str, int]) -> dict[str, int]:
    """Return the gateway's port of each exposed service: a chosen one, else mesh.yaml's."""
    return {e.service: chosen.get(e.service, e.port) for e in exposed}


def instance_id(spec: WorkloadSpec, taken: Iterable[str]) -> str:
    """Return the first id of a spec's service and version that is not taken."""
    used = set(taken)
    number = 0
    while (name := _id(spec, number)) in used:
        number += 1
    return name


def _id(spec: WorkloadSpec, number: int) -> str:
    if spec.service == names.GATEWAY:
        return f"{names.GATEWAY}-{number}"
    return names.instance_id(spec.service, spec.version, number)


def free_slot(taken: Iterable[int], after: int) -> int:
    """Return a slot of the loopback block that is not taken: the next after the last one given.

    A slot is not used again at once, as somebody may still hold connections to its last instance.
    ValueError when the block is full.
    """
    used = set(taken)
    for offset in range(1, names.HOST_SLOT + 1):
        slot = (after + offset) % names.HOST_SLOT
        if slot not in used:
            return slot
    raise ValueError(f"{len(used)} instances run here; a host takes {names.HOST_SLOT}")
