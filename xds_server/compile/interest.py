"""Whose proxies hold the endpoints of a service: who is told when they change."""

from collections.abc import Mapping

from legation.mesh import names
from legation.mesh.model.mesh import Mesh


def interested(mesh: Mesh) -> Mapping[str, frozenset[str]]:
    """Return for each service the services (and the gateway) whose snapshots its endpoints change."""
    calls = {name: [call.service for call in service.calls] for name, service in mesh.services.items()}
    calls[names.GATEWAY] = list(mesh.exposed())
    found: dict[str, set[str]] = {name: set() for name in mesh.services}
    for caller, called in calls.items():
        for callee in called:
            if callee not in found:
                continue  # outside of the mesh: its endpoints are nobody's
            service = mesh.services[callee]
            found[callee].add(caller)
            if service.failover is not None:
                found[service.failover].add(caller)
            if service.load_balancing.locality == "zone_aware" and caller in found:
                found[caller].add(caller)  # a caller's fair share depends on how many callers there are
    return {name: frozenset(callers) for name, callers in found.items()}
