"""The gateway's ports: which services are behind each, told apart by TLS's server name or by Host, and redirects.

A service that has a port to itself, or a certificate, has filters, routes and statistics of its own. Those that
the Host alone tells apart share them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.expose import Expose
from legation.mesh.model.mesh import Mesh
from legation.mesh.model.service import Service
from xds_server.compile import tls
from xds_server.compile.access_log import writer
from xds_server.compile.apart import count_apart, count_given_up, count_statuses, counted_as, with_zero
from xds_server.compile.fault import fault_filters
from xds_server.compile.gateway import edge_manager
from xds_server.compile.listener import HELLO_LIMIT, Fit, fitting, http_chain, listener, shared
from xds_server.compile.older import module_of, written_by
from xds_server.compile.rewrite import to_https
from xds_server.compile.route import configuration, service_rows, virtual_host
from xds_server.compile.strict import not_here
from xds_server.compile.tcp import gateway_proxy
from xds_server.compile.unavailable import Outage

Outages = Mapping[str, Outage]


@dataclass(frozen=True, slots=True)
class Site:
    """An exposed service."""

    name: str
    service: Service
    expose: Expose

    @property
    def routes(self) -> str:
        """The name of its routes, where they are its own: as its callers have them where every Host leads to it."""
        return names.gateway_routes(self.name) if self.expose.hosts else self.name


@dataclass(frozen=True, slots=True)
class Front:
    """One port: the services that it offers, and those that are to be asked over TLS instead."""

    address: str
    port: int
    sites: list[Site] = field(default_factory=list)
    redirects: list[Site] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its listener, and of the routes that its services share."""
        return names.gateway_listener(self.address, self.port)

    @property
    def is_tls(self) -> bool:
        """Whether clients begin with TLS: of the services of one port, all do or none."""
        return any(site.expose.tls for site in self.sites)

    @property
    def shares_routes(self) -> bool:
        """Whether its services are told apart by Host alone."""
        return not self.is_tls and (bool(self.redirects) or any(site.expose.hosts for site in self.sites))


def fronts(mesh: Mesh) -> tuple[Front, ...]:
    """Return the gateway's ports, in the order of the file."""
    found: dict[tuple[str, int], Front] = {}

    def at(site: Site, port: int) -> Front:
        address = str(site.expose.address)
        return found.setdefault((address, port), Front(address, port))

    for name, service in mesh.services.items():
        if service.expose is not None:
            site = Site(name, service, service.expose)
            at(site, service.expose.port).sites.append(site)
            if service.expose.tls is not None and service.expose.tls.redirect_port is not None:
                at(site, service.expose.tls.redirect_port).redirects.append(site)
    return tuple(found.values())


def front_listener(
    mesh: Mesh, front: Front, port: int, node: InstanceSpec, drained: Mapping[str, str]
) -> tuple[bytes, bytes]:
    """Return the serialised listener of a port. `port` is where the gateway listens in place of the front's.

    `drained` are the marks of TCP services whose connections are to end.

    Several gateways share it, so that a dead one's clients are served by the others at once.
    """
    chains = (
        [_shared_chain(mesh, front)] if front.shares_routes else [_chain(mesh, site, drained) for site in front.sites]
    )
    prefix = _stat_prefix(front)
    both = shared(chains, prefix, "INBOUND", reuse_port=True, inspect=HELLO_LIMIT if front.is_tls else None)
    made = fitting(both, Fit(written_by(node), module_of(mesh, node)))
    address = "0.0.0.0" if node.by_name else front.address  # noqa: S104 - a container, whose ports docker publishes
    return listener(names.gateway_listener(front.address, port), (address, port), made, with_zero(writer(node)))


def front_routes(front: Front, outages: Outages) -> Iterable[tuple[str, Callable[[], RouteConfiguration]]]:
    """Return the names of the routes that are the gateway's alone, and how to make each."""
    if front.shares_routes:
        yield front.name, lambda: _by_host(front.name, _hosts(front, outages))
        return
    for site in front.sites:
        if site.expose.hosts and site.service.protocol != "tcp":
            yield site.routes, partial(_of_site, front, site, outages)


def _stat_prefix(front: Front) -> str:
    alone = len(front.sites) == 1
    return names.gateway_stat_prefix(front.sites[0].name) if alone else names.shared_stat_prefix(front.port)


def _chain(mesh: Mesh, site: Site, drained: Mapping[str, str]) -> FilterChain:
    """Return what one service has of a port."""
    match = FilterChainMatch(server_names=site.expose.hosts) if site.expose.hosts and site.expose.tls else None
    is_tcp = site.service.protocol == "tcp"
    alpn = () if is_tcp else ("h2", "http/1.1")
    socket = tls.edge(names.edge_secret(site.name), alpn) if site.expose.tls else None
    if is_tcp:
        proxy = gateway_proxy(site.name, site.service)
        mark = drained.get(names.outbound_listener(site.name), "")
        return FilterChain(name=mark, filters=[proxy], transport_socket=socket, filter_chain_match=match)
    prefix = names.gateway_stat_prefix(site.name)
    manager = edge_manager(mesh, prefix, site.routes, site.name, fault_filters(site.service))
    manager.access_log.extend([count_given_up(prefix), *count_statuses([site.service.protocol])])
    return http_chain(manager, socket, match)


def _shared_chain(mesh: Mesh, front: Front) -> FilterChain:
    filters = _all_filters(front.sites)
    about = front.sites[0].name if len(front.sites) == 1 else "the service"
    prefix = _stat_prefix(front)
    manager = edge_manager(mesh, prefix, front.name, about, filters)
    several = len(front.sites) > 1
    manager.access_log.extend(count_apart(names.gateway_stat_prefix("")) if several else [count_given_up(prefix)])
    manager.access_log.extend(count_statuses([site.service.protocol for site in front.sites]))
    return http_chain(manager)


def _all_filters(sites: Sequence[Site]) -> list[HttpFilter]:
    """Return the filters of all services; each does to a request only what its own route says."""
    found = {f.name: f for site in sites for f in fault_filters(site.service)}
    return [found[name] for name in sorted(found)]


def _of_site(front: Front, site: Site, outages: Outages) -> RouteConfiguration:
    return _by_host(site.routes, _own_hosts(front, site, outages))


def _by_host(name: str, hosts: Sequence[components.VirtualHost]) -> RouteConfiguration:
    """Return routes by Host, whatever port that names."""
    found = configuration(name, hosts)
    found.ignore_port_in_host_matching = True
    return found


def _hosts(front: Front, outages: Outages) -> list[components.VirtualHost]:
    """Return what a port answers to each Host."""
    hosts = [_host(site, outages) for site in front.sites]
    hosts += [_redirect(site, front.port) for site in front.redirects]
    return hosts if any("*" in host.domains for host in hosts) else [*hosts, _elsewhere(["*"], 404)]


def _own_hosts(front: Front, site: Site, outages: Outages) -> list[components.VirtualHost]:
    """Return what a service's certificate answers for: a client that was told another one's Host is sent to that.

    Browsers reuse a connection for every host that its certificate bears (RFC 9113 §9.1.1).
    """
    others = sorted(host for other in front.sites if other is not site for host in other.expose.hosts)
    return [_host(site, outages), _elsewhere([*others, "*"], 421)]


def _host(site: Site, outages: Outages) -> components.VirtualHost:
    rows = service_rows(site.name, site.service, outages.get(site.name))
    return counted_as(virtual_host(site.name, site.expose.hosts or ["*"], rows), site.name)


def _redirect(site: Site, port: int) -> components.VirtualHost:
    return virtual_host(f"{site.name}.https", site.expose.hosts or ["*"], [to_https(site.name, site.expose, port)])


def _elsewhere(hosts: Sequence[str], status: int) -> components.VirtualHost:
    return virtual_host("elsewhere", hosts, [not_here(status)])
