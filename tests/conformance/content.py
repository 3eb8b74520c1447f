"""Resources that mean something to a reader: a name and a number, and back again from their bytes."""

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.message import Message

from tests.conformance.variants import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET

_MESSAGES: Mapping[str, type[Message]] = {
    CLUSTER: Cluster,
    ENDPOINT: ClusterLoadAssignment,
    LISTENER: Listener,
    ROUTE: RouteConfiguration,
    SECRET: Secret,
}
KINDS = {"clusters": CLUSTER, "endpoints": ENDPOINT, "listeners": LISTENER, "routes": ROUTE, "secrets": SECRET}


def make(type_url: str, name: str, value: int, padding: int = 0) -> bytes:
    """The bytes of a valid resource; `padding` makes a cluster that much longer."""
    message = _MAKERS[type_url](name, value)
    if padding:
        message.metadata.filter_metadata["padding"].update({"text": "x" * padding})
    return message.SerializeToString(deterministic=True)


def read(type_url: str, body: bytes) -> tuple[str, int]:
    """The name and the number of a resource."""
    message: Any = _MESSAGES[type_url].FromString(body)
    name = message.cluster_name if isinstance(message, ClusterLoadAssignment) else message.name
    return name, _READERS[type_url](message)


def _ads() -> ConfigSource:
    return ConfigSource(ads={}, resource_api_version="V3")


def _address(port: int) -> Address:
    return Address(socket_address={"address": "127.0.0.1", "port_value": port})


def _cluster(name: str, value: int) -> Cluster:
    return Cluster(
        name=name, type=Cluster.EDS, eds_cluster_config={"eds_config": _ads()}, connect_timeout={"seconds": value}
    )


def _endpoints(name: str, value: int) -> ClusterLoadAssignment:
    """One endpoint, at the port that the value is; 0 is a cluster without endpoints."""
    endpoint = {"endpoint": {"address": _address(value)}}
    return ClusterLoadAssignment(cluster_name=name, endpoints=[{"lb_endpoints": [endpoint]}] if value else [])


def _listener(name: str, value: int) -> Listener:
    """A listener that takes the route of its own name from RDS."""
    manager = HttpConnectionManager(stat_prefix=name, rds={"config_source": _ads(), "route_config_name": name})
    manager.http_filters.add(
        name="envoy.filters.http.router"
    ).typed_config.type_url = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    listener = Listener(name=name, address=_address(10_000 + value))
    one = listener.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager")
    one.typed_config.Pack(manager, deterministic=True)
    return listener


def _route(name: str, value: int) -> RouteConfiguration:
    route = {"match": {"prefix": "/"}, "route": {"cluster": name}}
    return RouteConfiguration(name=name, virtual_hosts=[{"name": f"v{value}", "domains": ["*"], "routes": [route]}])


def _secret(name: str, value: int) -> Secret:
    return Secret(name=name, generic_secret={"secret": {"inline_string": str(value)}})


_MAKERS = {CLUSTER: _cluster, ENDPOINT: _endpoints, LISTENER: _listener, ROUTE: _route, SECRET: _secret}
_READERS = {
    CLUSTER: lambda m: m.connect_timeout.seconds,
    ENDPOINT: lambda m: m.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value if m.endpoints else 0,
    LISTENER: lambda m: m.address.socket_address.port_value - 10_000,
    ROUTE: lambda m: int(m.virtual_hosts[0].name[1:]),
    SECRET: lambda m: int(m.generic_secret.secret.inline_string),
}
