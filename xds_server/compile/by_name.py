"""How an app in a container reaches whom it calls: by their names, at their own ports of its sidecar.

Services on one port are told apart by Host, in routes of the caller's own (Envoy 1.40 takes no scopes that are
listed in a listener with routes that are not). An app that knows one name on a port may write any Host.
"""

from collections.abc import Iterable, Mapping, Sequence

from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpFilter,
    LocalReplyConfig,
)

from legation.mesh import names
from legation.mesh.model.mesh import Mesh
from xds_server.compile.apart import count_apart, count_statuses, counted_as
from xds_server.compile.blocked import no_route
from xds_server.compile.external import external_routes
from xds_server.compile.fault import fault_filters
from xds_server.compile.http import connection_manager
from xds_server.compile.listener import Chain, chain
from xds_server.compile.route import configuration, service_rows, virtual_host
from xds_server.compile.tracing import of_calls, trace
from xds_server.compile.unavailable import Outage, unavailable

_NOBODY = "no service has this host here\n"
_OPERATION = "%REQ(:METHOD)% %REQ(:AUTHORITY)%"


def by_port(mesh: Mesh, called: Iterable[str]) -> Mapping[int, Sequence[str]]:
    """Return who is called at each port, in the order of the file.

    Connections cannot be told apart by a name, nor what goes to any Host: of those that share a port with
    such a one, the first alone is there.
    """
    found: dict[int, list[str]] = {}
    for name in called:
        here = found.setdefault(_port(mesh, name), [])
        if not here or (not _is_tcp(mesh, name) and not _is_tcp(mesh, here[0])):
            here.append(name)
    return found


def indistinct(mesh: Mesh, called: Iterable[str]) -> Iterable[tuple[str, int]]:
    """Yield whom an app cannot reach by name, with the port, as a TCP service is called there too."""
    called = tuple(called)
    reached = {name for found in by_port(mesh, called).values() for name in found}
    yield from ((name, _port(mesh, name)) for name in called if name not in reached)


def by_host_chain(mesh: Mesh, service: str, port: int, found: Sequence[str]) -> Chain:
    """Return what a service's listeners for several called ones on one port share."""
    prefix = names.shared_outbound_prefix(port)
    routes = names.shared_listener(port)
    filters = _filters(mesh, found)
    manager = connection_manager(mesh, "outbound", prefix, routes, service, filters, called=found)
    # HTTP/1.0 has no Host that could tell them apart
    manager.http_protocol_options.CopyFrom(Http1ProtocolOptions())
    manager.local_reply_config.CopyFrom(LocalReplyConfig(mappers=[*unavailable(), no_route(404, _NOBODY)]))
    manager.access_log.extend(count_apart(names.outbound_stat_prefix("")))
    manager.access_log.extend(count_statuses([mesh.services[name].protocol for name in found if name in mesh.services]))
    trace(manager, of_calls(mesh, found), service, _OPERATION)
    return chain(manager, "OUTBOUND")


def by_host_routes(mesh: Mesh, port: int, found: Sequence[str], outages: Mapping[str, Outage]) -> RouteConfiguration:
    """Return the routes of that listener: each service's own, for its name; none for any other, which is counted."""
    hosts = [_host(mesh, name, outages.get(name)) for name in found]
    routes = configuration(names.shared_listener(port), [*hosts, virtual_host("elsewhere", ["*"], [])])
    routes.ignore_port_in_host_matching = True
    return routes


def _host(mesh: Mesh, name: str, outage: Outage | None) -> components.VirtualHost:
    if name in mesh.services:
        return counted_as(virtual_host(name, [name], service_rows(name, mesh.services[name], outage)), name)
    host = external_routes(name, mesh.external[name]).virtual_hosts[0]
    host.domains[:] = [name]
    return counted_as(host, name)


def _filters(mesh: Mesh, found: Iterable[str]) -> list[HttpFilter]:
    """Return the filters of all of them; each does to a request only what its own route says."""
    services = (mesh.services[name] for name in found if name in mesh.services)
    made = {f.name: f for service in services for f in fault_filters(service)}
    return [made[name] for name in sorted(made)]


def _port(mesh: Mesh, name: str) -> int:
    if name == names.PASSTHROUGH:
        return names.OUTBOUND_PORT_BASE
    return mesh.services[name].port if name in mesh.services else mesh.external[name].port


def _is_tcp(mesh: Mesh, name: str) -> bool:
    known = mesh.services.get(name) or mesh.external.get(name)
    return known is None or known.protocol == "tcp"  # a proxy for all Hosts shares its port with nobody
