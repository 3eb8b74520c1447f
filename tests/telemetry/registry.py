"""A stand-in for xds_server's control API: it says what the test has it say."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from starlette.routing import Route

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import Instance, InstanceList, MeshDocument
from legation.runtime.control.server import bind_unix, events, serve
from legation.runtime.tasks import Latest

MESH = """
mesh: shop
trust_domain: shop.local
tracing: {otlp: {host: 127.0.0.1}}
services:
  web:
    protocol: http
    port: 8080
    calls: [orders]
    expose: {port: 8080}
    slo: {availability: 99.9, latency: {threshold: 250ms, objective: 99}}
    autoscale: {min: 1, max: 5, requests_per_second: 200}
  orders: {protocol: grpc, port: 9090, outlier_detection: {consecutive_5xx: 5}}
"""


def instance(number: int = 1, service: str = "web", **changes: object) -> Instance:
    """Return an instance that is well."""
    spec: dict[str, object] = {
        "id": f"{service}-v1-{number}", "boot": "1", "service": service, "version": "v1",
        "address": f"127.0.1.{number}", "port": 15006, "metrics_port": 15090,
    }  # fmt: skip
    values: dict[str, object] = {
        "state": "ready", "healthy": True, "connected": True, "synced": True,
        "spiffe_id": f"spiffe://shop.local/{service}",
    }  # fmt: skip
    fields = set(InstanceSpec.__dataclass_fields__)
    spec |= {name: value for name, value in changes.items() if name in fields}
    values |= {name: value for name, value in changes.items() if name not in fields}
    return msgspec.convert({"spec": spec, **values}, Instance)


class Registry:
    """What is said; set the values to say something new."""

    def __init__(self, *instances: Instance, mesh: str = MESH) -> None:
        self.instances = Latest(InstanceList(instances=instances))
        self.mesh = Latest(MeshDocument(file="mesh.yaml", text=mesh, version="1", applied=time.time(), by="tests"))

    @asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Answer on a unix socket while the block runs."""

        async def instances(_: object):
            return events(self.instances)

        async def mesh(_: object):
            return events(self.mesh)

        async with serve([bind_unix(path)], [Route("/instances/watch", instances), Route("/mesh/watch", mesh)]):
            yield
