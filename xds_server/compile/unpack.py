"""Configurations that are packed into a listener, to change what is already serialised."""

from collections.abc import Iterator

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from xds_server.compile.pack import pack


def proxies(listener: Listener) -> Iterator[HttpConnectionManager | TcpProxy]:
    """Yield each manager and proxy of a listener, and pack it again with what has been changed of it by then."""
    for chain in listener.filter_chains:
        for one in chain.filters:
            found: HttpConnectionManager | TcpProxy
            for found in (HttpConnectionManager(), TcpProxy()):
                if one.typed_config.Unpack(found):
                    yield found
                    one.typed_config.CopyFrom(pack(found))
