"""Whom the stories are about: the first service of the mesh, and an instance of it."""

from collections.abc import Mapping

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from telemetry.rules.conventions import CLASS, INSTANCE, MESH, PREFIX, RQ_XX, SERVICE
from telemetry.rules.story import Series

Labels = Mapping[str, str]
EACH_SERVICE = (MESH, SERVICE)


def a_service(mesh: Mesh) -> Labels:
    """Return the labels of a service."""
    return {MESH: mesh.mesh, SERVICE: next(iter(mesh.services))}


def a_proxy(mesh: Mesh) -> Labels:
    """Return the labels of an instance of it."""
    service = a_service(mesh)
    return {**service, INSTANCE: names.instance_id(service[SERVICE], "v1", 1)}


def called(mesh: Mesh, service: str) -> Labels:
    """Return the labels of a proxy that calls a service, and what it counts that under."""
    callers = mesh.callers(service)
    caller = callers[0][0] if callers else names.GATEWAY
    prefix = names.outbound_stat_prefix(service) if callers else names.gateway_stat_prefix(service)
    instance = names.instance_id(caller, "v1", 1)
    return {MESH: mesh.mesh, SERVICE: caller, INSTANCE: instance, PREFIX: prefix}


def requests(counted: Labels, code_class: str, values: str) -> Series:
    """Return a proxy's counter of what was answered with a class of status."""
    return Series(RQ_XX, {**counted, CLASS: code_class}, values)
