"""A control plane with a store and a clock of its own, and streams that say what they are told to."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import MeshDocument
from xds_server.admission import Admission
from xds_server.compile.bootstrap import metadata
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.protocol.types import Acknowledged
from xds_server.registry.store import SqliteStore
from xds_server.serve.info import StreamInfo
from xds_server.snapshot import ENDPOINT

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders: {protocol: http, port: 8080}
"""


class Clock:
    def __init__(self) -> None:
        self.time, self.set_by = 1000.0, 0.0

    def now(self) -> float:
        return self.time + self.set_by

    def elapsed(self) -> float:
        return self.time


class World:
    """A control plane with its store, and streams that say info."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.store = SqliteStore(folder / "registry.sqlite")
        self.plane = ControlPlane(self.store, self.clock, Metrics(CollectorRegistry()))
        self.plane.restore()
        self.admission = Admission(self.plane)

    async def connect(self, instance: str, service: str, peer: str | None = None):
        node = InstanceSpec(instance, service, "v1", "1", "127.64.1.1", 15006, app_port=20000)
        identity = peer or f"spiffe://shop.local/{service}"
        return await self.admission.admit(StreamInfo("ads", instance, metadata(node), identity, "00"))

    def info(self, instance: str) -> StreamInfo:
        node = InstanceSpec(instance, "orders", "v1", "1", "127.64.1.1", 15006, app_port=20000, standalone=True)
        return StreamInfo("ads", instance, metadata(node), "spiffe://shop.local/orders", "00")

    async def standalone(self, instance: str):
        return await self.admission.admit(self.info(instance))

    def of(self, instance: str):
        return next(i for i in self.plane.instance_list().instances if i.id == instance)

    def settle(self, stream) -> None:
        self.admission.observe(stream, Acknowledged(stream.snapshots.value, {}))

    def apply(self, text: str = MESH):
        return self.plane.apply(MeshDocument(file="mesh.yaml", text=text))


def addresses(stream) -> int:
    body = stream.snapshots.value.of_type(ENDPOINT)["orders"].body
    return body.count(b"127.64.1.1")
