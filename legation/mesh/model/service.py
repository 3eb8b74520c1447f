"""`services.<name>`: one service, its routes and whom it calls."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from legation.mesh.model.access import Access, ExtAuthz, Jwt
from legation.mesh.model.active_health_check import ActiveHealthCheck
from legation.mesh.model.autoscale import Autoscale
from legation.mesh.model.call import Call
from legation.mesh.model.circuit_breaker import CircuitBreaker
from legation.mesh.model.connections import Connections
from legation.mesh.model.expose import Expose
from legation.mesh.model.health_check import HealthCheck
from legation.mesh.model.load_balancing import LoadBalancing
from legation.mesh.model.outlier_detection import OutlierDetection
from legation.mesh.model.rate_limit import RateLimit
from legation.mesh.model.route import Route
from legation.mesh.model.slo import Slo
from legation.mesh.model.telemetry_only import TelemetryOnly
from legation.mesh.types import Boolean, Model, Name, Port

Protocol = Literal["http", "http2", "grpc", "tcp"]
Mtls = Literal["strict", "permissive"]


def _call(value: Any) -> Any:
    """Take a bare name for a call without limits."""
    return {"service": value} if isinstance(value, str) else value


class Service(Model):
    """A service as its callers and its own sidecars see it."""

    protocol: Protocol
    port: Annotated[Port, Field(description="the service's own port, where its app listens in a container")]
    calls: tuple[Annotated[Call, BeforeValidator(_call, json_schema_input_type=Name | Call)], ...] = ()
    routes: tuple[Route, ...] = ()
    load_balancing: LoadBalancing = LoadBalancing()
    circuit_breaker: CircuitBreaker | None = None
    outlier_detection: OutlierDetection | None = None
    connections: Connections = Connections()
    passthrough: Annotated[
        Boolean | None,
        Field(description="let its app call servers that mesh.yaml does not name, by its proxy; none: as the mesh"),
    ] = None
    failover: Annotated[Name | None, Field(description="the service that answers while no instance of this can")] = None
    mtls: Annotated[
        Mtls | None, Field(description="permissive: plain text is let in too, whoever sends it; none: as the mesh")
    ] = None
    access: Access = Access()
    jwt: Jwt | None = None
    ext_authz: ExtAuthz | None = None
    rate_limit: RateLimit | None = None
    health_check: HealthCheck | None = None
    active_health_check: ActiveHealthCheck | None = None
    expose: Expose | None = None
    slo: Slo | None = None
    autoscale: Annotated[Autoscale | None, Field(description="how many instances there are, by load")] = None
    telemetry_only: Annotated[
        tuple[TelemetryOnly, ...],
        Field(description="its Envoys that take nothing but telemetry from here, for Prometheus to find"),
    ] = ()
