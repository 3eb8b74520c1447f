"""Which instances a mesh file wants on this host. No I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.workload import DEFAULT_VERSION


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One instance as mesh.yaml says it. A change of `command` or `env` is another instance life."""

    id: str
    service: str
    version: str
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


def desired(mesh: Mesh) -> tuple[InstanceSpec, ...]:
    """Return the gateway, where something is exposed, and every workload's instances, in the order of the file."""
    return (*_gateway(mesh), *_instances(mesh))


def _gateway(mesh: Mesh) -> Iterator[InstanceSpec]:
    if mesh.exposed():
        yield InstanceSpec(f"{names.GATEWAY}-0", names.GATEWAY, DEFAULT_VERSION)


def _instances(mesh: Mesh) -> Iterator[InstanceSpec]:
    for workload in mesh.workloads:
        for number in range(workload.instances):
            instance = names.instance_id(workload.service, workload.version, number)
            env = tuple(sorted(workload.env.items()))
            yield InstanceSpec(instance, workload.service, workload.version, workload.command, env)


def slots(instances: tuple[InstanceSpec, ...], held: Mapping[str, int]) -> dict[str, int]:
    """Return each instance's slot in the loopback block: those that have one keep it, others take the lowest free.

    ValueError when the block is full (254 instances).
    """
    taken = {i.id: held[i.id] for i in instances if i.id in held}
    used = set(taken.values())
    free = (slot for slot in range(names.HOST_SLOT) if slot not in used)
    for instance in instances:
        if instance.id not in taken:
            slot = next(free, None)
            if slot is None:
                raise ValueError(f"{len(instances)} instances; a host takes {names.HOST_SLOT}")
            taken[instance.id] = slot
    return taken
