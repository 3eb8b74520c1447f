"""The meshes that the benches run on: as text that an operator could have written, and their instances."""

from collections.abc import Iterator
from itertools import count

from legation.mesh import names
from legation.mesh.instance import InstanceSpec

TRUST_DOMAIN = "bench.local"
CALLER = "client"
VERSION = "v1"
ENDPOINTS = 10
"""Instances of each service."""

_HEAD = f"mesh: bench\ntrust_domain: {TRUST_DOMAIN}\nservices:\n"


def star(services: int) -> str:
    """Return a mesh.yaml in which one service calls all others: every one of its proxies follows every endpoint."""
    called = [service(i) for i in range(services)]
    lines = [_line(CALLER, called), *(_line(name, []) for name in called)]
    return _HEAD + "".join(lines)


def ring(services: int, calls: int, port: int = 8080) -> str:
    """Return a mesh.yaml in which each service calls the next `calls` ones: a mesh that grows keeps its fan-in."""
    following = [[service((i + step) % services) for step in range(1, calls + 1)] for i in range(services)]
    return _HEAD + "".join(_line(service(i), called, port) for i, called in enumerate(following))


def service(index: int) -> str:
    """Return the name of a called service."""
    return f"svc-{index}"


def instances(services: int, each: int = ENDPOINTS) -> Iterator[InstanceSpec]:
    """Yield so many nodes of each service, each with an address of its own."""
    number = count()
    for index in range(services):
        for instance in range(each):
            n = next(number)
            name = service(index)
            yield InstanceSpec(
                id=names.instance_id(name, VERSION, instance),
                service=name,
                version=VERSION,
                boot="1",
                address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",
                port=names.INBOUND_PORT,
            )


def _line(name: str, called: list[str], port: int = 8080) -> str:
    return f"  {name}: {{protocol: http, port: {port}, calls: [{', '.join(called)}]}}\n"
