"""`telemetry_only`: a service's Envoys that take nothing but telemetry from here: no stream says where they are."""

from typing import Annotated

from pydantic import Field

from legation.mesh import names
from legation.mesh.types import Host, Model, Name, Port


class TelemetryOnly(Model):
    """One such Envoy, started with what `legation render bootstrap --only telemetry` wrote."""

    address: Annotated[Host, Field(description="where Prometheus reaches its metrics")]
    port: Port = names.METRICS_PORT
    version: Name = "v1"
    instance: Annotated[Name | None, Field(description="its id; none: made from service, version and address")] = None
    zone: Annotated[Name | None, Field(description="where it is")] = None

    def id(self, service: str) -> str:
        """Return its id among the instances of a service."""
        return self.instance or names.standalone_instance(service, self.version, self.address)
