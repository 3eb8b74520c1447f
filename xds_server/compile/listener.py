"""What every listener of ours has: one address, its direction said, and a chain that nodes of one service share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

from envoy.config.core.v3.base_pb2 import Metadata, TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from xds_server.compile.access_log import Written, keep_one
from xds_server.compile.address import tcp
from xds_server.compile.cluster import BUFFER_LIMIT
from xds_server.compile.http import network_filter
from xds_server.compile.http1_lines import http1_lines, is_http1_lines
from xds_server.compile.pack import duration, pack, serialize
from xds_server.compile.unpack import proxies

HELLO_LIMIT = timedelta(seconds=15)
"""How long to wait for a client that is to speak first."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A serialised listener but for its name and address: costly to build, equal for all nodes of a service.

    But for what differs between their hosts (`fitting`).
    """

    body: bytes


def chain(
    manager: HttpConnectionManager,
    direction: Literal["INBOUND", "OUTBOUND"],
    *,
    reuse_port: bool = False,
) -> Chain:
    """Return the chain of a connection manager, in plain text.

    The statistics are under the manager's own prefix, equal on every host.
    """
    return shared([http_chain(manager)], manager.stat_prefix, direction, reuse_port=reuse_port)


def http_chain(
    manager: HttpConnectionManager,
    transport_socket: TransportSocket | None = None,
    match: FilterChainMatch | None = None,
    first: Sequence[Filter] = (),
    last: Sequence[Filter] = (),
) -> FilterChain:
    """Return the filters of a connection manager, strict about the lines of HTTP/1, for the connections of a match.

    Those `last` come right before it.
    """
    filters = [*first, http1_lines(), *last, network_filter(manager)]
    return FilterChain(filters=filters, transport_socket=transport_socket, filter_chain_match=match)


def shared(
    filter_chains: Sequence[FilterChain],
    stat_prefix: str,
    direction: Literal["INBOUND", "OUTBOUND"],
    *,
    reuse_port: bool = False,
    inspect: timedelta | None = None,
) -> Chain:
    """Return what listeners with the same filters share.

    SO_REUSEPORT only where several Envoys are to share a port: elsewhere an orphan Envoy would
    silently take half of the connections. `inspect` is how long to wait for a client's first bytes, which say
    whether it speaks TLS, and to whom; one that is silent for longer is in plain text.
    """
    proto = Listener(
        stat_prefix=stat_prefix,
        filter_chains=filter_chains,
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT),
        traffic_direction=TrafficDirection.Value(direction),
        enable_reuse_port=BoolValue(value=reuse_port),
    )
    if inspect is not None:
        proto.listener_filters.append(_TLS_INSPECTOR)
        proto.listener_filters_timeout.CopyFrom(duration(inspect))
        proto.continue_on_listener_filters_timeout = True
    return Chain(serialize(proto))


class Fit(NamedTuple):
    """What differs between nodes of one service: how they write their log, and what they load for HTTP/1's lines."""

    written: Written
    lines_module: str


def fitting(given: Chain, fit: Fit) -> Chain:
    """Return a chain for nodes of that fit; one of before, that does not say how it writes, gets all of the log."""
    if not fit.written.log and not fit.lines_module:
        return given
    found = Listener.FromString(given.body)
    if fit.lines_module:
        for one in filter(is_http1_lines, (one for chain in found.filter_chains for one in chain.filters)):
            one.CopyFrom(http1_lines(fit.lines_module))
    if fit.written.log:
        for proxy in proxies(found):
            keep_one(proxy.access_log, fit.written.log, in_environment=fit.written.in_environment)
    return Chain(serialize(found))


_TLS_INSPECTOR = ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=pack(TlsInspector()))


def listener(
    name: str,
    at: tuple[str, int],
    given: Chain,
    metadata: Metadata | None = None,
    more: Iterable[tuple[str, int]] = (),
) -> tuple[bytes, bytes]:
    """Return a serialised listener at (address, port), in two parts; `metadata` are what its log knows of the node.

    `more` are further addresses and ports of it.

    Two serialised messages in a row are both, merged (Protocol Buffers, "Encoding": last one wins), so what
    nodes share is serialised once, and there once.
    """
    proto = Listener(name=name, address=tcp(*at), metadata=metadata)
    for other in more:
        proto.additional_addresses.add(address=tcp(*other))
    return serialize(proto), given.body
