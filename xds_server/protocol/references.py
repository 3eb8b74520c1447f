"""Which resources of another type a resource refers to by name, and so has sent after it.

xDS protocol, "Resource warming": a changed cluster waits for its endpoints, a changed listener for its routes.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.message import DecodeError

from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource

_KEPT = 4096
"""Parts of listeners whose routes are known without a look into them: streams share them."""
_SHARED = 512
"""Bytes from which on a part is worth remembering: below, it is a name and an address, each another."""

FOLLOWERS: Mapping[str, str] = {CLUSTER: ENDPOINT, LISTENER: ROUTE}
"""By what type each type is followed."""


def followed_by(resources: Iterable[Resource]) -> set[str]:
    """Return the names of the resources by which these, all of one type, have to be followed."""
    return {name for resource in resources for name in _NAMES[resource.type_url](resource)}


def _own_name(cluster: Resource) -> tuple[str, ...]:
    """Return the name of a cluster's endpoints, which is its own."""
    return (cluster.name,)


def _routes(listener: Resource) -> tuple[str, ...]:
    """Look at each part by itself, as thousands of listeners share the large one."""
    looked = (_routes_in(part) if len(part) >= _SHARED else _routes_of(part) for part in listener.parts)
    return tuple(name for names in looked for name in names)


@lru_cache(_KEPT)
def _routes_in(part: bytes) -> tuple[str, ...]:
    return _routes_of(part)


def _routes_of(listener: bytes) -> tuple[str, ...]:
    """Return the names of the routes that a listener (a part of one) takes from RDS; none where it cannot be read."""
    try:
        message = Listener.FromString(listener)
        chains = (*message.filter_chains, message.default_filter_chain)
        return tuple(name for chain in chains for one in chain.filters if (name := _route(one)))
    except DecodeError:
        return ()


def _route(one: Filter) -> str:
    manager = HttpConnectionManager()
    return manager.rds.route_config_name if one.typed_config.Unpack(manager) else ""


_NAMES: Mapping[str, Callable[[Resource], tuple[str, ...]]] = {CLUSTER: _own_name, LISTENER: _routes}
