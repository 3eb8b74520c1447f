"""A mesh file to what a host has to know of it."""

from collections.abc import Iterator

from legation.mesh.desired import DesiredMesh, Exposed, ReplicaSet, WorkloadSpec
from legation.mesh.model.mesh import Mesh
from legation.mesh.source import SourcedMesh
from legation.mesh.types import format_duration


def summarize(source: SourcedMesh) -> DesiredMesh:
    """Return what a mesh file desires of a host, in the order of the file."""
    mesh = source.mesh
    return DesiredMesh(
        mesh=mesh.mesh,
        trust_domain=mesh.trust_domain,
        version=source.version,
        services=tuple(mesh.services),
        dev=mesh.certificates.dev,
        health_checks=tuple(_health_checks(mesh)),
        exposed=tuple(_exposed(mesh)),
        replica_sets=tuple(_replica_sets(mesh)),
    )


def _health_checks(mesh: Mesh) -> Iterator[tuple[str, str]]:
    for name, service in mesh.services.items():
        if (check := service.health_check) is not None:
            what = f"GET {check.path}" if check.path else "a connection"
            what = "grpc.health.v1" if service.protocol == "grpc" else what
            yield name, f"{what} every {format_duration(check.interval)}, within {format_duration(check.timeout)}"


def _exposed(mesh: Mesh) -> Iterator[Exposed]:
    for name, service in mesh.services.items():
        if (expose := service.expose) is not None:
            scheme = "http" if expose.tls is None else "https"
            host = expose.hosts[0].removeprefix("*.") if expose.hosts else ""
            yield Exposed(name, str(expose.address), expose.port, scheme, host)


def _replica_sets(mesh: Mesh) -> Iterator[ReplicaSet]:
    for workload in mesh.workloads:
        env = tuple(sorted(workload.env.items()))
        spec = WorkloadSpec(workload.service, workload.version, workload.command, env)
        policy = mesh.services[workload.service].autoscale if workload.instances else None
        if policy is None:
            yield ReplicaSet(spec, workload.instances)
        else:
            start = max(policy.min, min(workload.instances, policy.max))
            yield ReplicaSet(spec, start, (policy.min, policy.max))
