"""`connections.max_connections` to the filter that closes an instance's surplus connections."""

from collections.abc import Sequence

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import ConnectionLimit
from google.protobuf.wrappers_pb2 import UInt64Value

from legation.mesh import names
from xds_server.compile.pack import pack


def limit(most: int | None) -> Sequence[Filter]:
    """Return the filter of an inbound listener; none without a limit."""
    if most is None:
        return ()
    config = ConnectionLimit(stat_prefix=names.INBOUND, max_connections=UInt64Value(value=most))
    return (Filter(name="envoy.filters.network.connection_limit", typed_config=pack(config)),)
