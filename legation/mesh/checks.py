"""What types cannot see: names that lead nowhere, and fields that contradict each other."""

from collections.abc import Iterator
from datetime import timedelta

from legation.mesh import names
from legation.mesh.access_checks import access_violations
from legation.mesh.autoscale_checks import autoscale_violations, most_instances
from legation.mesh.errors import Violation
from legation.mesh.expose_checks import expose_violations
from legation.mesh.logging_checks import logging_violations
from legation.mesh.match_checks import starred_paths
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service
from legation.mesh.model.slo import LATENCY_BUCKETS
from legation.mesh.route_checks import route_violations
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.service_checks import service_violations
from legation.mesh.source import Path, SourcedMesh
from legation.mesh.telemetry_checks import telemetry_violations
from legation.mesh.tracing_checks import tracing_violations
from legation.mesh.types import format_duration
from legation.mesh.wording import among, dotted, either, shown

SHORTEST_TTL, LONGEST_TTL = timedelta(minutes=1), timedelta(hours=24)
MOST_INSTANCES = 254
"""One loopback address each, beside the gateway's and the host's own, in a block of 256."""


def check(sourced: SourcedMesh) -> tuple[Violation, ...]:
    """Return what is wrong with a mesh whose fields are right one by one, in the order of the file."""
    return tuple(sorted({broken.violation(sourced) for broken in rule_violations(sourced)}))


def rule_violations(sourced: SourcedMesh) -> Iterator[RuleViolation]:
    """Yield every broken rule, one by one, so that a caller may stop early."""
    mesh = sourced.mesh
    for name, service in mesh.services.items():
        here: Path = ("services", name)
        yield from _name(name, here)
        yield from _calls(sourced, name, service)
        yield from service_violations(mesh, name, service)
        yield from access_violations(mesh, name, service)
        yield from _health_check(service, here)
        yield from route_violations(mesh, name, service)
        yield from _slo(service, (*here, "slo"))
        yield from autoscale_violations(service, (*here, "autoscale"))
    yield from _external(mesh)
    yield from tracing_violations(mesh)
    yield from logging_violations(mesh)
    yield from expose_violations(mesh)
    yield from telemetry_violations(mesh)
    yield from _certificates(mesh)
    yield from _workloads(mesh)
    yield from _same_workloads(mesh)
    yield from _same_instance_names(mesh)
    yield from _number_of_instances(mesh)


def _name(name: str, here: Path) -> Iterator[RuleViolation]:
    if names.is_reserved(name):
        yield RuleViolation(here, f"{shown(name)} is kept for Legation's own components: take another name", ())


def _calls(sourced: SourcedMesh, name: str, service: Service) -> Iterator[RuleViolation]:
    first: dict[str, Path] = {}
    for i, call in enumerate(service.calls):
        entry: Path = ("services", name, "calls", i)
        path = (*entry, "service") if (*entry, "service") in sourced.positions else entry
        if call.service == name:
            yield RuleViolation(path, "a service cannot call itself through the mesh", (path,))
        elif call.service in sourced.mesh.external and call.allow:
            message = f"{call.service} is no service of the mesh, which could look at it: leave allow out"
            yield RuleViolation((*entry, "allow"), message, ((*entry, "allow"),), at_key=True)
        elif call.service not in sourced.mesh.services and call.service not in sourced.mesh.external:
            known = among(call.service, (*sourced.mesh.services, *sourced.mesh.external))
            yield RuleViolation(path, f"no service is called {shown(call.service)}{known}", (path,))
        earlier = first.setdefault(call.service, path)
        if earlier != path:
            message = f"{shown(call.service)} is in {dotted(earlier)} already: put all of its allow rules there"
            yield RuleViolation(path, message, (path, earlier))
        for j, allow in enumerate(call.allow):
            yield from _allowed_paths(allow.paths, (*entry, "allow", j, "paths"))


def _allowed_paths(paths: tuple[str, ...], here: Path) -> Iterator[RuleViolation]:
    for i, path in enumerate(paths):
        if "*" in path.removesuffix("/*"):
            message = f"{shown(path)} has a * elsewhere than in /* at its end: write an exact path, or a prefix and /*"
            yield RuleViolation((*here, i), message, ((*here, i),))


def _health_check(service: Service, here: Path) -> Iterator[RuleViolation]:
    if service.health_check is None:
        return
    path: Path = (*here, "health_check", "path")
    rests_on: tuple[Path, ...] = ((*here, "health_check"), (*here, "protocol"))
    if service.protocol in ("http", "http2") and service.health_check.path is None:
        yield RuleViolation(path, "missing: write what to GET, such as /healthz", rests_on)
    if service.protocol == "tcp" and service.health_check.path is not None:
        yield RuleViolation(path, "tcp services are asked for a connection, which has no path: leave it out", rests_on)
    if service.protocol == "grpc" and service.health_check.path is not None:
        yield RuleViolation(
            path, "grpc services are asked by grpc.health.v1, which has no path: leave it out", rests_on
        )
    yield from starred_paths({"path": service.health_check.path}, (*here, "health_check"))


def _slo(service: Service, here: Path) -> Iterator[RuleViolation]:
    if service.slo is None:
        return
    if service.protocol == "tcp":
        yield RuleViolation(here, "a tcp service has no requests to promise something of: leave slo out", (here,))
    if service.slo.availability is None and service.slo.latency is None:
        yield RuleViolation(here, "it promises nothing: write availability, latency or both", (here,))
    if service.slo.latency is not None and (limit := service.slo.latency.threshold) not in LATENCY_BUCKETS:
        path: Path = (*here, "latency", "threshold")
        counted = either(tuple(map(format_duration, LATENCY_BUCKETS)))
        message = f"{format_duration(limit)} is no time that requests are counted by: write {counted}"
        yield RuleViolation(path, message, (path,))


def _external(mesh: Mesh) -> Iterator[RuleViolation]:
    for name in mesh.external:
        path: Path = ("external", name)
        yield from _name(name, path)
        if name in mesh.services:
            yield RuleViolation(path, f"services.{name} has this name: take another one", (path, ("services", name)))


def _certificates(mesh: Mesh) -> Iterator[RuleViolation]:
    ttl, path = mesh.certificates.ttl, ("certificates", "ttl")
    if ttl < SHORTEST_TTL:
        message = f"{format_duration(ttl)} is below the minimum {format_duration(SHORTEST_TTL)}"
        yield RuleViolation(path, message, (path,))
    if ttl > LONGEST_TTL:
        message = f"{format_duration(ttl)} is above the maximum {format_duration(LONGEST_TTL)}"
        yield RuleViolation(path, message, (path,))


def _workloads(mesh: Mesh) -> Iterator[RuleViolation]:
    for i, workload in enumerate(mesh.workloads):
        path: Path = ("workloads", i, "service")
        program: Path = ("workloads", i, "command", 0)
        if workload.service not in mesh.services:
            known = among(workload.service, mesh.services)
            yield RuleViolation(path, f"no service is called {shown(workload.service)}{known}", (path,))
        if not workload.command[0]:
            yield RuleViolation(program, "'' is no program: write its name or its path", (program,))


def _same_workloads(mesh: Mesh) -> Iterator[RuleViolation]:
    first: dict[tuple[str, str], int] = {}
    for i, workload in enumerate(mesh.workloads):
        earlier = first.setdefault((workload.service, workload.version), i)
        if earlier != i:
            message = (
                f"version {workload.version} of {workload.service} is in workloads[{earlier}] already: "
                "give it another version, or raise instances there"
            )
            rests_on = tuple(("workloads", n, part) for n in (earlier, i) for part in ("service", "version"))
            yield RuleViolation(("workloads", i), message, rests_on)


def _same_instance_names(mesh: Mesh) -> Iterator[RuleViolation]:
    """Yield workloads whose instances would be called as another's are: a of b-v1, and a-b of v1."""
    first: dict[str, int] = {}
    for i, workload in enumerate(mesh.workloads):
        earlier = first.setdefault(names.instance_id(workload.service, workload.version, 0), i)
        other = mesh.workloads[earlier]
        if (other.service, other.version) != (workload.service, workload.version):
            message = f"its instances would have the names of workloads[{earlier}]'s: give it another version"
            rests_on = tuple(("workloads", n, part) for n in (earlier, i) for part in ("service", "version"))
            yield RuleViolation(("workloads", i), message, rests_on)


def _number_of_instances(mesh: Mesh) -> Iterator[RuleViolation]:
    total = sum(most_instances(mesh, workload) for workload in mesh.workloads)
    if total > MOST_INSTANCES:
        message = f"{total} instances in all are above the maximum {MOST_INSTANCES} of one host"
        yield RuleViolation(("workloads",), message, (("workloads",),))
