"""The listeners through which an app reaches the services that it calls: plain HTTP/1 or HTTP/2, on loopback."""

from collections.abc import Iterable

from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpFilter,
    LocalReplyConfig,
)

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Protocol
from xds_server.compile.access_log import writer
from xds_server.compile.apart import count_given_up, count_statuses
from xds_server.compile.http import connection_manager
from xds_server.compile.listener import Chain, chain, listener
from xds_server.compile.tracing import of_calls, operation, trace
from xds_server.compile.unavailable import unavailable


def outbound_chain(
    mesh: Mesh,
    callee: str,
    service: str,
    filters: Iterable[HttpFilter] = (),
    protocol: Protocol = "http",
) -> Chain:
    """Return what a service's listeners for one called service share; `filters` are those of the called one."""
    prefix = names.outbound_stat_prefix(callee)
    manager = connection_manager(mesh, "outbound", prefix, callee, service, filters, called=[callee])
    # nginx and ab still speak HTTP/1.0 to what is behind them.
    manager.http_protocol_options.CopyFrom(Http1ProtocolOptions(accept_http_10=True, default_host_for_http_10=callee))
    manager.local_reply_config.CopyFrom(LocalReplyConfig(mappers=unavailable()))
    manager.access_log.extend([count_given_up(prefix), *count_statuses([protocol])])
    trace(manager, of_calls(mesh, [callee]), service, operation(protocol, callee))
    return chain(manager, "OUTBOUND")


def outbound_listener(node: InstanceSpec, callee: str, port: int, shared: Chain) -> tuple[bytes, bytes]:
    """Return a node's serialised listener for one called service."""
    return listener(names.outbound_listener(callee), (node.own_address, port), shared, writer(node))
