"""What every listener of ours has: one address, bound once, with its direction said."""

from typing import Literal

from envoy.config.core.v3.base_pb2 import TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from xds_server.compile.address import tcp
from xds_server.compile.cluster import BUFFER_LIMIT
from xds_server.compile.http import network_filter


def listener(
    name: str,
    at: tuple[str, int],
    direction: Literal["INBOUND", "OUTBOUND"],
    manager: HttpConnectionManager,
    transport_socket: TransportSocket | None = None,
) -> Listener:
    """Return a listener at (address, port) with one filter chain; plain text without a transport socket.

    No SO_REUSEPORT: with it an orphan Envoy would silently take half of the connections. The
    statistics are under the manager's own prefix, equal on every host.
    """
    chain = FilterChain(filters=[network_filter(manager)], transport_socket=transport_socket)
    return Listener(
        name=name,
        address=tcp(*at),
        stat_prefix=manager.stat_prefix,
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        traffic_direction=TrafficDirection.Value(direction),
        enable_reuse_port=BoolValue(value=False),
    )
