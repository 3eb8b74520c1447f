"""The four ways to say xDS: delta or state of the world, all types on one stream or a service for each."""

from collections.abc import Mapping
from dataclasses import dataclass

TYPE = "type.googleapis.com/"
CLUSTER = f"{TYPE}envoy.config.cluster.v3.Cluster"
ENDPOINT = f"{TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{TYPE}envoy.config.listener.v3.Listener"
ROUTE = f"{TYPE}envoy.config.route.v3.RouteConfiguration"
SECRET = f"{TYPE}envoy.extensions.transport_sockets.tls.v3.Secret"

WHOLE = (CLUSTER, LISTENER)
"""Types whose state-of-the-world responses hold everything, and that know a wildcard."""

_SERVICES: Mapping[str, tuple[str, str]] = {
    CLUSTER: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    ENDPOINT: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    LISTENER: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    ROUTE: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
    SECRET: ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets"),
}
_ADS = ("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way; `needs` are what a target must have for it."""

    delta: bool
    ads: bool

    @property
    def name(self) -> str:
        return "-".join(self.needs)

    @property
    def needs(self) -> tuple[str, str]:
        return ("delta" if self.delta else "sotw", "ads" if self.ads else "single")

    def method(self, type_url: str) -> str:
        """The gRPC method on which a type is asked for."""
        service, what = _ADS if self.ads else _SERVICES[type_url]
        return f"/{service}/{'Delta' if self.delta else 'Stream'}{what}"


DELTA_ADS = Variant(delta=True, ads=True)
DELTA_SINGLE = Variant(delta=True, ads=False)
SOTW_ADS = Variant(delta=False, ads=True)
SOTW_SINGLE = Variant(delta=False, ads=False)

ALL = (DELTA_ADS, DELTA_SINGLE, SOTW_ADS, SOTW_SINGLE)
DELTA = (DELTA_ADS, DELTA_SINGLE)
SOTW = (SOTW_ADS, SOTW_SINGLE)
ADS = (DELTA_ADS, SOTW_ADS)
