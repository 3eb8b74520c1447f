"""Whose proxies get something new by a change of the mesh, and one node that stands for those of a service. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.mesh import Mesh

_APART = {"services", "external", "workloads"}
"""What of a mesh concerns some services; all else concerns each."""


def affected(before: Mesh | None, after: Mesh) -> frozenset[str]:
    """Return the services of the mesh (and the gateway) whose proxies may get something new."""
    everybody = frozenset((*after.services, names.GATEWAY))
    if before is None or _of_all(before) != _of_all(after):
        return everybody
    changed = _changed(before.services, after.services) | _changed(before.external, after.external)
    near = {name for mesh in (before, after) for name in changed for name in _neighbours(mesh, name)}
    callers = {name for name, service in after.services.items() if any(c.service in changed for c in service.calls)}
    exposed = {names.GATEWAY for mesh in (before, after) if changed.intersection(mesh.exposed())}
    return everybody & (changed | near | callers | exposed)


def representatives(services: Iterable[str], nodes: Iterable[InstanceSpec]) -> Iterator[InstanceSpec]:
    """Yield one node of each service: one that is connected, or one that could be."""
    connected = {node.service: node for node in nodes}
    for service in sorted(services):
        yield connected.get(service) or made_up(service)


def _of_all(mesh: Mesh) -> Mapping[str, object]:
    return {field: getattr(mesh, field) for field in type(mesh).model_fields if field not in _APART}


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> frozenset[str]:
    return frozenset(name for name in {*before, *after} if before.get(name) != after.get(name))


def _neighbours(mesh: Mesh, name: str) -> Iterator[str]:
    """Yield what a service calls, and what stands in for it and for those: who may call each is in its own listener."""
    if name not in mesh.services:
        return
    for near in (name, *(call.service for call in mesh.services[name].calls)):
        known = mesh.services.get(near)
        yield from (near, known.failover or near) if known is not None else (near,)


def made_up(service: str) -> InstanceSpec:
    """Return a node that could be one of a service's."""
    app_port = 0 if service == names.GATEWAY else names.APP_PORTS[0]
    identity = names.instance_id(service, "proved", 0)
    return InstanceSpec(identity, service, "v1", "", "127.0.0.1", app_port=app_port)
