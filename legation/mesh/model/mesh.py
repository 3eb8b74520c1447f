"""The whole of mesh.yaml."""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from legation.mesh import names
from legation.mesh.model.certificates import Certificates
from legation.mesh.model.external import External
from legation.mesh.model.logging import Logging
from legation.mesh.model.metrics import Metrics
from legation.mesh.model.prometheus import Prometheus
from legation.mesh.model.service import Mtls, Service
from legation.mesh.model.tracing import Tracing
from legation.mesh.model.workload import Workload
from legation.mesh.types import Boolean, Model, Name, TrustDomain


class Mesh(Model):
    """A mesh: its name, its trust domain, its services and how they start here."""

    mesh: Name
    trust_domain: TrustDomain
    services: Annotated[dict[Name, Service], Field(min_length=1)]
    external: Annotated[dict[Name, External], Field(description="servers outside of the mesh")] = {}
    mtls: Annotated[Mtls, Field(description="of every service that says nothing else")] = "strict"
    passthrough: Annotated[
        Boolean, Field(description="let apps call servers that are not named here, by their proxies; of every service")
    ] = False
    certificates: Certificates = Certificates()
    tracing: Annotated[Tracing | None, Field(description="traces of requests")] = None
    metrics: Annotated[Metrics, Field(description="what proxies count")] = Metrics()
    prometheus: Annotated[Prometheus | None, Field(description="the one that scrapes this mesh")] = None
    logging: Logging = Logging()
    dynamic_modules: Annotated[
        Boolean, Field(description="proxies may load the native code that comes with this program, where they can")
    ] = True
    workloads: tuple[Workload, ...] = ()

    def callers(self, service: str) -> tuple[tuple[str, Service], ...]:
        """Return the services that may call `service`, in the order of the file."""
        return tuple(
            (name, caller) for name, caller in self.services.items() if any(c.service == service for c in caller.calls)
        )

    def is_permissive(self, service: str) -> bool:
        """Say whether a service takes plain text too."""
        return (self.services[service].mtls or self.mtls) == "permissive"

    def reached(self, service: str) -> tuple[str, ...]:
        """Return all that a service's app may call, the way to what is not named here among it."""
        known = self.services[service]
        passes = self.passthrough if known.passthrough is None else known.passthrough
        return (*(call.service for call in known.calls), *((names.PASSTHROUGH,) if passes else ()))

    def listened(self, service: str) -> tuple[str, ...]:
        """Return all that a service's app has a listener for on a host: whom it calls, and one for all others."""
        return (*(call.service for call in self.services[service].calls), names.PASSTHROUGH)

    def has_all(self, called: Collection[str]) -> bool:
        """Say whether some are called, and all of them are services: each with a proxy of ours in front of its app."""
        return bool(called) and all(name in self.services for name in called)

    def exposed(self) -> tuple[str, ...]:
        """Return the services that the gateway offers, in the order of the file."""
        return tuple(name for name, service in self.services.items() if service.expose is not None)
