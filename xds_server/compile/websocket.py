"""`websocket`: HTTP/1.1 upgrades at both ends, an extended CONNECT between two proxies (RFC 8441).

A connection manager takes none by itself; a route does. In front of an app it is told by the path, as the app sees
that: whoever has a caller's certificate and comes past the caller's proxy gets no further.
"""

import re

from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from legation.mesh.model.match import RouteMatch
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.route import Route

_TYPE = "websocket"
_VARIABLE = re.compile(r"\{[^{}]*\}")


def websocket() -> RouteAction.UpgradeConfig:
    """Return what lets the requests of a route become WebSockets."""
    return RouteAction.UpgradeConfig(upgrade_type=_TYPE)


def socket_paths(mesh: Mesh, name: str) -> tuple[RouteMatch, ...]:
    """Return the paths at which an app may be asked for WebSockets: by its own routes, and of whom it stands in for."""
    led = (s for service, s in mesh.services.items() if name in (service, s.failover))
    return tuple(_arriving(route) for service in led for route in service.routes if route.websocket)


def accept_websockets(manager: HttpConnectionManager) -> None:
    """Have a listener in front of an app hear of WebSockets between two proxies; its routes say where."""
    manager.http2_protocol_options.allow_connect = True


def _arriving(route: Route) -> RouteMatch:
    """Return how the path of a route's requests looks to the app; what replaces a pattern may look like anything."""
    asked = route.rewrite
    if asked is None or not asked.paths:
        return route.match.model_copy(update={"headers": {}, "query": {}, "methods": ()})
    if asked.template is not None:
        return RouteMatch(regex=".*".join(map(re.escape, _VARIABLE.split(asked.template))))
    return RouteMatch(path=asked.path, prefix=asked.prefix)
