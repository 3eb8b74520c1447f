"""What types cannot see in how a service is reached: fields that its load balancing or its limits do not look at."""

from collections.abc import Iterator

from legation.mesh.model.load_balancing import HASHING, STARTING_SLOWLY, LoadBalancing
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.outlier_detection import OutlierDetection
from legation.mesh.model.service import Service
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.types import format_duration
from legation.mesh.wording import among, either, shown


def service_violations(mesh: Mesh, name: str, service: Service) -> Iterator[RuleViolation]:
    """Yield every broken rule about how callers reach a service."""
    here: Path = ("services", name)
    yield from _hashing(service.load_balancing, (*here, "load_balancing"))
    yield from _slow_start(service.load_balancing, (*here, "load_balancing"))
    if service.protocol == "tcp":
        yield from _of_requests(service, here)
    if service.outlier_detection is not None:
        yield from _ejection(service.outlier_detection, (*here, "outlier_detection"))
    if service.failover is not None:
        yield from _failover(mesh, name, service.failover)


_OF_REQUESTS = (
    ("load_balancing", ("hash_header", "hash_cookie")),
    ("circuit_breaker", ("max_requests", "max_retries", "retry_budget")),
    ("connections", ("max_requests_per_connection",)),
)
"""What nobody looks at where connections carry no requests."""


def _of_requests(service: Service, here: Path) -> Iterator[RuleViolation]:
    for part, fields in _OF_REQUESTS:
        for field in fields:
            if getattr(getattr(service, part), field, None) is not None:
                path: Path = (*here, part, field)
                message = "a tcp service has connections, and no requests that this could be said of: leave it out"
                yield RuleViolation(path, message, (path, (*here, "protocol")))


def _hashing(balancing: LoadBalancing, here: Path) -> Iterator[RuleViolation]:
    policy, header = balancing.policy, (*here, "hash_header")
    if policy in HASHING and not balancing.hashes:
        message = f"missing: {policy} needs the header whose value chooses the instance"
        yield RuleViolation(header, f"{message}, or hash_cookie, or hash_source_address", (here,))
    if policy not in HASHING:
        for field in ("hash_header", "hash_cookie", "hash_source_address"):
            if getattr(balancing, field):
                message = f"{policy} does not look at it: leave it out, or set policy to {either(HASHING)}"
                yield RuleViolation((*here, field), message, (here,))


def _slow_start(balancing: LoadBalancing, here: Path) -> Iterator[RuleViolation]:
    if balancing.slow_start is not None and balancing.policy not in STARTING_SLOWLY:
        message = f"{balancing.policy} has none: leave it out, or set policy to {either(STARTING_SLOWLY)}"
        yield RuleViolation((*here, "slow_start"), message, (here,))


def _ejection(ejection: OutlierDetection, here: Path) -> Iterator[RuleViolation]:
    if ejection.base_ejection_time > ejection.max_ejection_time:
        times = (format_duration(ejection.base_ejection_time), format_duration(ejection.max_ejection_time))
        message = f"base_ejection_time {times[0]} is above max_ejection_time {times[1]}"
        yield RuleViolation(here, message, ((*here, "base_ejection_time"), (*here, "max_ejection_time")))


def _failover(mesh: Mesh, name: str, backup: str) -> Iterator[RuleViolation]:
    path: Path = ("services", name, "failover")
    if backup == name:
        yield RuleViolation(path, "a service cannot stand in for itself", (path,))
    elif backup not in mesh.services:
        yield RuleViolation(path, f"no service is called {shown(backup)}{among(backup, mesh.services)}", (path,))
    elif mesh.services[backup].protocol != mesh.services[name].protocol:
        message = f"{backup} speaks {mesh.services[backup].protocol}, and {name} speaks {mesh.services[name].protocol}"
        protocols = tuple(("services", s, "protocol") for s in (name, backup))
        yield RuleViolation(path, f"{message}: name a service of one protocol", (path, *protocols))
