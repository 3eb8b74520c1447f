"""The listeners through which an app reaches the services that it calls: plain HTTP/1 or HTTP/2, on loopback."""

from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.config.listener.v3.listener_pb2 import Listener

from legation.mesh import names
from xds_server.compile.http import connection_manager
from xds_server.compile.listener import listener
from xds_server.node import Node


def outbound_listener(node: Node, callee: str, port: int) -> Listener:
    """Return the listener for one called service."""
    manager = connection_manager("outbound", f"outbound_{callee}", callee, node.service)
    # nginx and ab still speak HTTP/1.0 to what is behind them.
    manager.http_protocol_options.CopyFrom(Http1ProtocolOptions(accept_http_10=True, default_host_for_http_10=callee))
    return listener(names.outbound_listener(callee), (node.address, port), "OUTBOUND", manager)
