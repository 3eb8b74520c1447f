"""What types cannot see in `autoscale`: bounds that cross, and metrics that nothing measures."""

from collections.abc import Iterator
from datetime import timedelta

from legation.mesh.model.autoscale import (
    LONGEST_COOLDOWN,
    LONGEST_STABILIZATION,
    METRICS,
    REQUEST_METRICS,
    Autoscale,
)
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service
from legation.mesh.model.workload import Workload
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.types import format_duration
from legation.mesh.wording import either


def autoscale_violations(service: Service, here: Path) -> Iterator[RuleViolation]:
    """Yield every broken rule of a service's policy."""
    policy = service.autoscale
    if policy is None:
        return
    if policy.min > policy.max:
        message = f"{policy.min} is above max, which is {policy.max}"
        yield RuleViolation((*here, "min"), message, ((*here, "min"), (*here, "max")))
    if not any(True for _ in policy.targets()):
        yield RuleViolation(here, f"nothing says how many are needed: write {either(METRICS)}", (here,))
    if service.protocol == "tcp":
        yield from _requests_of_tcp(policy, here)
    yield from _at_most(policy.stabilization_window, LONGEST_STABILIZATION, (*here, "stabilization_window"))
    yield from _at_most(policy.cooldown, LONGEST_COOLDOWN, (*here, "cooldown"))


def _requests_of_tcp(policy: Autoscale, here: Path) -> Iterator[RuleViolation]:
    for metric in REQUEST_METRICS:
        if getattr(policy, metric) is not None:
            yield RuleViolation((*here, metric), "a tcp service has no requests to count: write cpu", (here,))


def _at_most(value: timedelta, most: timedelta, path: Path) -> Iterator[RuleViolation]:
    if value > most:
        message = f"{format_duration(value)} is above the maximum {format_duration(most)}"
        yield RuleViolation(path, message, (path,))


def most_instances(mesh: Mesh, workload: Workload) -> int:
    """Return how many instances of a workload there may come to be; one that starts with none is left at that."""
    service = mesh.services.get(workload.service)
    policy = service.autoscale if service is not None else None
    return policy.max if policy is not None and workload.instances else workload.instances
