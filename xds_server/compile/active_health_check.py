"""`active_health_check` to both ends: what a caller's cluster asks, and what the called proxy answers by itself.

Its answers are marked as health checks, which Envoy counts in no status, logs nowhere and traces never.
"""

from collections.abc import Sequence

from envoy.config.core.v3.health_check_pb2 import HealthCheck
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.health_check.v3.health_check_pb2 import HealthCheck as Answering
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.http_pb2 import CodecClientType
from envoy.type.v3.range_pb2 import Int64Range
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh.model.active_health_check import ActiveHealthCheck
from xds_server.compile.health_check import paced
from xds_server.compile.pack import pack

PATH = "/.well-known/legation/reachable"
"""Asked of a proxy and never of its app."""

_ANY = Int64Range(start=100, end=600)
"""Whoever answers can be reached: one that has not heard yet that it is asked, or no longer is, says 403 or 404."""


def asking(name: str, asked: ActiveHealthCheck | None) -> Sequence[HealthCheck]:
    """Return the checks of a service's clusters."""
    if asked is None:
        return ()
    check = paced(asked)
    http = HealthCheck.HttpHealthCheck(
        host=name, path=PATH, codec_client_type=CodecClientType.HTTP2, expected_statuses=[_ANY]
    )
    check.http_health_check.CopyFrom(http)
    return (check,)


def answering(asked: ActiveHealthCheck | None) -> Sequence[HttpFilter]:
    """Return the inbound filter; before access control, as a caller may be allowed no path but its own."""
    if asked is None:
        return ()
    path = HeaderMatcher(name=":path", string_match=StringMatcher(exact=PATH))
    config = Answering(pass_through_mode=BoolValue(value=False), headers=[path])
    return (HttpFilter(name="envoy.filters.http.health_check", typed_config=pack(config)),)
