"""What types cannot see in access: what connections do not have, claims without tokens, servers that nobody may ask."""

from collections.abc import Iterator

from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service
from legation.mesh.rule_violation import RuleViolation
from legation.mesh.source import Path
from legation.mesh.wording import shown

_OF_REQUESTS = ("routes", "jwt", "ext_authz", "rate_limit", "access", "active_health_check")
"""What looks at requests, which a TCP service does not have."""


def access_violations(mesh: Mesh, name: str, service: Service) -> Iterator[RuleViolation]:
    """Yield every broken rule about what a service asks of requests."""
    here: Path = ("services", name)
    if service.protocol == "tcp":
        for field in _OF_REQUESTS:
            if getattr(service, field) != Service.model_fields[field].default:
                message = "tcp services have connections, not requests: leave it out"
                yield RuleViolation((*here, field), message, ((*here, field), (*here, "protocol")), at_key=True)
    if service.ext_authz is not None:
        yield from _asked(mesh, service, service.ext_authz.service, (*here, "ext_authz", "service"))
    yield from _unseen(service, here)
    if service.rate_limit is not None and service.rate_limit.global_ is not None:
        path: Path = (*here, "rate_limit", "global", "service")
        yield from _asked(mesh, service, service.rate_limit.global_.service, path)
    for i, call in enumerate(service.calls):
        if call.service in mesh.services:
            for j, _ in enumerate(call.allow):
                yield from _allow(mesh.services[call.service], call.service, name, (i, j), service)


def _unseen(service: Service, here: Path) -> Iterator[RuleViolation]:
    """Yield the headers that a service looks at, and that never get to it."""
    if service.jwt is not None:
        yield from _drops(service, here, (*here, "jwt", "from_header"), service.jwt.from_header)
    counted = service.rate_limit.global_ if service.rate_limit is not None else None
    for i, limit in enumerate(counted.limits if counted is not None else ()):
        yield from _drops(service, here, (*here, "rate_limit", "global", "limits", i, "by_header"), limit.by_header)


def _drops(
    asking: Service, there: Path, path: Path, header: str | None, *, at_key: bool = False
) -> Iterator[RuleViolation]:
    """Yield that a header is none where an ext_authz server is asked: the service's own proxies drop it."""
    if asking.ext_authz is not None and header is not None and "_" in header:
        message = f"{there[1]} has ext_authz, so its proxies drop headers with underscores: name one without"
        yield RuleViolation(path, message, (path, (*there, "ext_authz")), at_key)


def _asked(mesh: Mesh, service: Service, asked: str, path: Path) -> Iterator[RuleViolation]:
    if asked not in (call.service for call in service.calls):
        yield RuleViolation(
            path, f"{shown(asked)} is not among the services that this one calls: add it to calls", (path,)
        )
    elif asked in mesh.services and mesh.services[asked].protocol != "grpc":
        message = f"{asked} speaks {mesh.services[asked].protocol}: {path[-2]} asks over grpc"
        yield RuleViolation(path, message, (path, ("services", asked, "protocol")))


def _allow(called: Service, callee: str, name: str, at: tuple[int, int], caller: Service) -> Iterator[RuleViolation]:
    here: Path = ("services", name, "calls", at[0], "allow", at[1])
    allow = caller.calls[at[0]].allow[at[1]]
    if called.protocol == "tcp":
        message = f"{callee} is a tcp service, whose connections have no methods, paths or headers: leave allow out"
        yield RuleViolation(here, message, (here, ("services", callee, "protocol")))
    if allow.claims and called.jwt is None:
        path: Path = (*here, "claims")
        message = f"{callee} looks at no token: give it jwt, or leave claims out"
        yield RuleViolation(path, message, (path, ("services", callee)), at_key=True)
    for header in allow.headers:
        yield from _drops(called, ("services", callee), (*here, "headers", header), header, at_key=True)
