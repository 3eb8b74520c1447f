"""What every listener of ours has: one address, its direction said, and a chain that nodes of one service share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from envoy.config.core.v3.base_pb2 import Metadata, TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from xds_server.compile.address import tcp
from xds_server.compile.cluster import BUFFER_LIMIT
from xds_server.compile.http import network_filter
from xds_server.compile.http1_lines import http1_lines
from xds_server.compile.pack import serialize


@dataclass(frozen=True, slots=True)
class Chain:
    """A serialised listener but for its name and address: costly to build, equal for all nodes of a service."""

    body: bytes


def chain(
    manager: HttpConnectionManager,
    direction: Literal["INBOUND", "OUTBOUND"],
    transport_socket: TransportSocket | None = None,
    first: Sequence[Filter] = (),
    *,
    reuse_port: bool = False,
) -> Chain:
    """Return the chain of a connection manager; plain text without a transport socket.

    Strict about the lines of HTTP/1. The statistics are under the manager's own prefix, equal on every host.
    """
    filters = [*first, http1_lines(), network_filter(manager)]
    made = FilterChain(filters=filters, transport_socket=transport_socket)
    return shared(made, manager.stat_prefix, direction, reuse_port=reuse_port)


def shared(
    filters: FilterChain, stat_prefix: str, direction: Literal["INBOUND", "OUTBOUND"], *, reuse_port: bool = False
) -> Chain:
    """Return what listeners with the same filters share.

    SO_REUSEPORT only where several Envoys are to share a port: elsewhere an orphan Envoy would
    silently take half of the connections.
    """
    proto = Listener(
        stat_prefix=stat_prefix,
        filter_chains=[filters],
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        traffic_direction=TrafficDirection.Value(direction),
        enable_reuse_port=BoolValue(value=reuse_port),
    )
    return Chain(serialize(proto))


def listener(name: str, at: tuple[str, int], given: Chain, metadata: Metadata | None = None) -> tuple[bytes, bytes]:
    """Return a serialised listener at (address, port), in two parts; `metadata` are what its log knows of the node.

    Two serialised messages in a row are both, merged (Protocol Buffers, "Encoding": last one wins), so what
    nodes share is serialised once, and there once.
    """
    return serialize(Listener(name=name, address=tcp(*at), metadata=metadata)), given.body
