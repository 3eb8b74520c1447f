"""Where things listen: Envoy's spelling of IP addresses, host names and unix sockets."""

from envoy.config.core.v3.address_pb2 import Address, Pipe, SocketAddress
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment


def tcp(host: str, port: int) -> Address:
    """Return a TCP address; `host` is an IP address, or a name where Envoy resolves names."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def pipe(path: str, mode: int = 0) -> Address:
    """Return a unix socket; `mode` is for those that Envoy makes itself."""
    return Address(pipe=Pipe(path=path, mode=mode))


def one_host(cluster: str, address: Address) -> ClusterLoadAssignment:
    """Return the inline assignment of a cluster with one host."""
    host = LbEndpoint(endpoint=Endpoint(address=address))
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=[host])])
