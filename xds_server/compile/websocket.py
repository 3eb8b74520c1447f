"""`websocket`: HTTP/1.1 upgrades at both ends, an extended CONNECT between two proxies (RFC 8441)."""

from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from legation.mesh.model.service import Service

_TYPE = "websocket"


def websocket() -> RouteAction.UpgradeConfig:
    """Return what lets the requests of a route become WebSockets."""
    return RouteAction.UpgradeConfig(upgrade_type=_TYPE)


def accept_websockets(manager: HttpConnectionManager, service: Service) -> None:
    """Have a listener in front of an app take WebSockets, where some route of its service does."""
    if any(route.websocket for route in service.routes):
        manager.upgrade_configs.append(HttpConnectionManager.UpgradeConfig(upgrade_type=_TYPE))
        manager.http2_protocol_options.allow_connect = True
