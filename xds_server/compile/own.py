"""What a node has for itself: its listeners and its app's cluster. Nodes of one service differ in addresses alone."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.external import External
from legation.mesh.model.service import Protocol
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.access_log import writer
from xds_server.compile.access_once import Rights, decided_once
from xds_server.compile.apart import with_zero
from xds_server.compile.blocked import blocked_chain
from xds_server.compile.by_name import by_host_chain, by_host_routes, by_port
from xds_server.compile.cluster import app_cluster
from xds_server.compile.external import external_chain, external_cluster, external_routes
from xds_server.compile.fault import fault_filters
from xds_server.compile.first_address import first_address_chain, first_address_cluster
from xds_server.compile.front import Front, Outages, front_listener, front_routes, fronts
from xds_server.compile.health_check import named_checks
from xds_server.compile.inbound import inbound_chain, inbound_listener
from xds_server.compile.listener import Chain, Fit, fitting, listener
from xds_server.compile.older import EACH_ADDRESS, leave_out, module_of, written_by
from xds_server.compile.outbound import outbound_chain, outbound_listener
from xds_server.compile.outside import outside_cluster, verified
from xds_server.compile.pack import resource
from xds_server.compile.passthrough import passthrough_chain, passthrough_cluster, passthrough_routes
from xds_server.compile.rbac import Callers
from xds_server.compile.retry import app_rules
from xds_server.compile.route import NOT_AGAIN, inbound_routes
from xds_server.compile.tcp import inbound_tcp_chain, outbound_tcp_chain
from xds_server.compile.tracing import receiver
from xds_server.compile.unavailable import Outage
from xds_server.compile.websocket import socket_paths
from xds_server.revocations import NONE_REVOKED, Revocations
from xds_server.snapshot import Resource, Resources

_MOST_MODULES = 4
"""Paths of modules of one service's nodes that are told apart: hosts have few places where programs are."""

_ANYWHERE = {names.PASSTHROUGH: passthrough_chain, names.PASSTHROUGH_FIRST: first_address_chain}

_WITH_ROUTES: tuple[Protocol, ...] = ("http", "http2", "grpc")


class Own:
    """Compiles nodes; what listeners of one service share is built once."""

    def __init__(self, mesh: SourcedMesh, allowed: Mapping[str, Callers], connection_life: timedelta) -> None:
        """Take a valid mesh, and who may call each of its services."""
        self._source, self._mesh, self._life = mesh, mesh.mesh, connection_life
        self._allowed = allowed
        self._rights: dict[str, Rights] = {}
        self._modules: dict[str, set[str]] = {}
        self._inbound: dict[tuple[str, Fit], Chain] = {}
        self._outbound: dict[tuple[str, str, Fit], Chain] = {}
        self._edge_routes: dict[str, tuple[tuple[Outage | None, ...], Resource]] = {}
        self._outside = {name: self._to_outside(name, asked) for name, asked in self._mesh.external.items()}
        self._outside[names.PASSTHROUGH] = self._to_anywhere()
        self._traces = self._to_traces()
        self._fronts = fronts(self._mesh)
        self._drained: Mapping[str, str] = {}
        self._given: dict[str, tuple[InstanceSpec, Mapping[str, int]]] = {}
        """The outbound ports of nodes whose apps were not told of all of them, also of what is no longer called."""
        self.revoke(NONE_REVOKED)

    def revoke(self, revoked: Revocations) -> bool:
        """Deny what peers with these certificates ask for, from now on; say whether listeners are others for it."""
        self._revoked = revoked.serials
        self._to_apps: dict[tuple[Protocol | None, tuple[str, ...]], Resource] = {}
        self.inbound_routes = self._to_app(None, {})
        drained = [name for name, mark in revoked.drained.items() if mark != self._drained.get(name)]
        self._inbound = {key: c for key, c in self._inbound.items() if key[0] not in drained}
        self._outbound = {key: c for key, c in self._outbound.items() if names.outbound_listener(key[1]) not in drained}
        self._drained = revoked.drained
        return bool(drained)

    def inherit(self, before: "Own", services: Collection[str]) -> None:
        """Take over what listeners of these services share, as a mesh before made it of what is unchanged in this one.

        May run in a thread while another uses the one before.
        """
        modules, self._given = before._modules, dict(before._given)  # noqa: SLF001 - of this class
        self._modules.update({one: set(known) for one, known in list(modules.items()) if one in services})
        drained, inbound, outbound = before._drained, before._inbound, before._outbound  # noqa: SLF001 - of this class
        if drained == self._drained:
            self._inbound.update({key: made for key, made in list(inbound.items()) if key[0] in services})
            self._outbound.update({key: made for key, made in list(outbound.items()) if key[0] in services})

    def forget(self, node_id: str) -> None:
        """Drop what is kept for a node that is gone."""
        self._given.pop(node_id, None)

    def clusters(self, node: InstanceSpec) -> Resources:
        """Return a node's own clusters."""
        if node.service == names.GATEWAY:
            return _by_name(self._traces)
        if node.service not in self._mesh.services:
            return _by_name([])
        return _by_name([self._app(node), *self._first_addresses(node), *self._keys(node.service), *self._traces])

    def listeners(self, node: InstanceSpec, called: Sequence[str]) -> Resources:
        """Return a node's listeners; `called` are the services that it reaches."""
        found = self._listeners(node, called)
        return _by_name(_without(node.lacks, listener) for listener in found) if node.lacks else _by_name(found)

    def _listeners(self, node: InstanceSpec, called: Sequence[str]) -> Iterable[Resource]:
        if node.service == names.GATEWAY:
            return (self._gateway(front, node) for front in self._fronts)
        if node.service not in self._mesh.services:
            return ()
        return (self._in(node), *self._out(node, called))

    def _app(self, node: InstanceSpec) -> Resource:
        service = self._mesh.services[node.service]
        proto = app_cluster(node.app_address, node.app_port, service.protocol)
        if node.by_name:
            proto.health_checks.extend(named_checks(node.service, service))
        return resource(kinds.CLUSTER, names.LOCAL_APP, proto, self._source.position("services", node.service))

    def outside_clusters(self, reached: Iterable[str]) -> list[Resource]:
        """Return the clusters of those servers outside of the mesh that are among `reached`."""
        return [self._outside[name][0] for name in reached if name in self._outside]

    def outside_routes(self, reached: Iterable[str]) -> dict[str, Resource]:
        """Return the routes to them; a server of connections has none."""
        found = {name: self._outside[name][1] for name in reached if name in self._outside}
        return {name: routes for name, routes in found.items() if routes is not None}

    def edge_routes(self, outages: Outages) -> dict[str, Resource]:
        """Return the routes that are the gateway's alone: of services that are told apart by Host."""
        found = {}
        for front in self._fronts:
            known = tuple(outages.get(site.name) for site in front.sites)
            for name, make in front_routes(front, outages):
                kept = self._edge_routes.get(name)
                if kept is None or kept[0] != known:
                    position = self._source.position("services", (*front.sites, *front.redirects)[0].name, "expose")
                    kept = self._edge_routes[name] = known, resource(kinds.ROUTE, name, make(), position)
                found[name] = kept[1]
        return found

    def routes_to_app(self, service: str, *, by_name: bool = False) -> Resource:
        """Return the routes in front of a service's app: the same for most that take no WebSockets.

        Those `by_name` stand in front of a container, with what is tried again there.
        """
        called, sockets = self._mesh.services[service], socket_paths(self._mesh, service)
        rights = self._rights_at(service)
        if not sockets:
            return self._to_app(called.protocol if by_name else None, rights)
        rules = app_rules(called.protocol) if by_name else NOT_AGAIN
        made = inbound_routes(self._revoked, rules, sockets, rights)
        return resource(kinds.ROUTE, names.INBOUND, made, self._source.position("services", service, "routes"))

    def _rights_at(self, service: str) -> Rights:
        """Return what its callers may do, for its routes: asked for again whenever an endpoint of a callee changes."""
        if service not in self._rights:
            self._rights[service] = decided_once(self._mesh.services[service], self._allowed[service])
        return self._rights[service]

    def _to_app(self, named: Protocol | None, rights: Rights) -> Resource:
        """Return the routes that the apps of many services have in front of them; `named` are those of containers."""
        key = named, tuple(sorted(rights))
        if key not in self._to_apps:
            made = inbound_routes(self._revoked, app_rules(named) if named else NOT_AGAIN, rights=rights)
            self._to_apps[key] = resource(kinds.ROUTE, names.INBOUND, made, self._source.position("services"))
        return self._to_apps[key]

    def named_routes(self, service: str, called: Iterable[str], outages: Mapping[str, Outage]) -> dict[str, Resource]:
        """Return the routes of containers that are not those of other proxies: to their apps, and of a shared port."""
        known, found = self._mesh.services.get(service), {}
        if known is not None and known.protocol in _WITH_ROUTES:
            found[names.INBOUND] = self.routes_to_app(service, by_name=True)
        for port, callees in by_port(self._mesh, called).items():
            if len(callees) > 1:
                proto, name = by_host_routes(self._mesh, port, callees, outages), names.shared_listener(port)
                found[name] = resource(kinds.ROUTE, name, proto, self._source.position("services", callees[0]))
        return found

    def _to_outside(self, name: str, asked: External) -> tuple[Resource, Resource | None]:
        position = self._source.position("external", name)
        cluster = resource(kinds.CLUSTER, name, external_cluster(name, asked), position)
        if asked.protocol == "tcp":
            return cluster, None
        return cluster, resource(kinds.ROUTE, name, external_routes(name, asked), position)

    def _to_anywhere(self) -> tuple[Resource, Resource]:
        """Return what leads to servers that mesh.yaml does not name, for those who may call them."""
        position = self._source.position("passthrough")
        cluster = resource(kinds.CLUSTER, names.PASSTHROUGH, passthrough_cluster(), position)
        return cluster, resource(kinds.ROUTE, names.PASSTHROUGH, passthrough_routes(), position)

    def _first_addresses(self, node: InstanceSpec) -> list[Resource]:
        """Return where `passthrough` leads a node that cannot look at each address of a name."""
        if EACH_ADDRESS.name not in node.lacks or names.PASSTHROUGH not in self._mesh.reached(node.service):
            return []
        position = self._source.position("passthrough")
        return [resource(kinds.CLUSTER, names.PASSTHROUGH_FIRST, first_address_cluster(), position)]

    def _to_traces(self) -> list[Resource]:
        """Return where spans go, where the mesh is traced."""
        if self._mesh.tracing is None:
            return []
        position = self._source.position("tracing", "otlp")
        return [resource(kinds.CLUSTER, names.TRACES_CLUSTER, receiver(self._mesh.tracing), position)]

    def _keys(self, service: str) -> list[Resource]:
        """Return where the keys of tokens are fetched, where the service asks for tokens."""
        jwt = self._mesh.services[service].jwt
        if jwt is None:
            return []
        name, url = names.jwks_cluster(service), urlsplit(jwt.jwks_uri)
        host, is_tls = url.hostname or "", url.scheme == "https"
        proto = outside_cluster(name, host, url.port or (443 if is_tls else 80), verified(host) if is_tls else None)
        return [resource(kinds.CLUSTER, name, proto, self._source.position("services", service, "jwt"))]

    def _in(self, node: InstanceSpec) -> Resource:
        """Return the listener that brings requests to the node's own app."""
        service, fit = node.service, self._fit(node)
        if (service, fit) not in self._inbound:
            self._inbound[service, fit] = fitting(self._inbound_chain(service), fit)
        plain = self._mesh.services[service].port if self._mesh.is_permissive(service) else None
        body = inbound_listener(node, self._inbound[service, fit], plain)
        return Resource.of(kinds.LISTENER, names.INBOUND, body, self._source.position("services", service))

    def _inbound_chain(self, service: str) -> Chain:
        allowed = self._allowed[service]
        if self._mesh.services[service].protocol == "tcp":
            return inbound_tcp_chain(self._mesh, service, allowed, self._drained.get(service, ""))
        return inbound_chain(self._mesh, service, allowed, self._life)

    def _out(self, node: InstanceSpec, called: Sequence[str]) -> list[Resource]:
        """Return the listeners through which the node's app calls others."""
        if node.by_name:
            return [self._at_port(node, port, found) for port, found in by_port(self._mesh, called).items()]
        ports = self._ports(node, called)
        return [
            Resource.of(
                kinds.LISTENER,
                names.outbound_listener(callee),
                outbound_listener(node, callee, ports[callee], self._chain(node, callee)),
                self._source.position("services", node.service, *_said(callee, index)),
            )
            for index, callee in enumerate(called)
        ]

    def _ports(self, node: InstanceSpec, called: Sequence[str]) -> Mapping[str, int]:
        """Return the ports of those listeners; none leads elsewhere than before, as long as the node lives.

        Envoy takes new listeners before it lets go of old ones, and refuses two on one port.
        """
        known = self._given.get(node.id)
        given = known[1] if known is not None and known[0] == node else node.outbound_ports
        ports = names.outbound_ports(called, given)
        if ports.keys() - given.keys():
            self._given[node.id] = node, {**given, **ports}
        return ports

    def _at_port(self, node: InstanceSpec, port: int, found: Sequence[str]) -> Resource:
        """Return the listener on a port that the services called there have as their own."""
        position = self._source.position("services", node.service, "calls")
        name = names.shared_listener(port)  # the same for one and for several, as they would not fit beside each other
        one = len(found) == 1
        made = self._chain(node, found[0]) if one else self._by_host(node, port, found)
        body = listener(name, (node.own_address, port), made, with_zero(writer(node)))
        return Resource.of(kinds.LISTENER, name, body, position)

    def _by_host(self, node: InstanceSpec, port: int, found: Sequence[str]) -> Chain:
        return self._shared(node, " ".join(found), partial(by_host_chain, self._mesh, node.service, port, found))

    def _chain(self, node: InstanceSpec, callee: str) -> Chain:
        if callee == names.PASSTHROUGH and EACH_ADDRESS.name in node.lacks:
            callee = names.PASSTHROUGH_FIRST
        return self._shared(node, callee, partial(self._to_callee, node.service, callee))

    def _shared(self, node: InstanceSpec, called: str, make: Callable[[], Chain]) -> Chain:
        """Return what those nodes of a service share towards `called` that fit as this one does."""
        fit = self._fit(node)
        key = node.service, called, fit
        if key not in self._outbound:
            self._outbound[key] = fitting(make(), fit)
        return self._outbound[key]

    def _fit(self, node: InstanceSpec) -> Fit:
        """Return how a node differs from others of its service: in few ways, as each is kept and it says its path."""
        known, module = self._modules.setdefault(node.service, set()), module_of(self._mesh, node)
        if module and len(known) < _MOST_MODULES:
            known.add(module)
        return Fit(written_by(node), module if module in known else "")

    def _to_callee(self, service: str, callee: str) -> Chain:
        if callee in self._mesh.external:
            return external_chain(self._mesh, callee, service)
        if callee in _ANYWHERE:
            make = _ANYWHERE[callee] if names.PASSTHROUGH in self._mesh.reached(service) else blocked_chain
            return make(self._mesh, service)
        called = self._mesh.services[callee]
        if called.protocol == "tcp":
            return outbound_tcp_chain(callee, called, service, self._drained.get(names.outbound_listener(callee), ""))
        return outbound_chain(self._mesh, callee, service, fault_filters(called), called.protocol)

    def _gateway(self, front: Front, node: InstanceSpec) -> Resource:
        first = (*front.sites, *front.redirects)[0]
        port = node.outbound_ports.get(first.name, front.port) if front.sites else front.port
        body = front_listener(self._mesh, front, port, node, self._drained)
        position = self._source.position("services", first.name, "expose")
        return Resource.of(kinds.LISTENER, names.gateway_listener(front.address, port), body, position)


def _without(lacks: Sequence[str], listener: Resource) -> Resource:
    """Return a listener for a proxy that does not know some parts."""
    body = leave_out(b"".join(listener.parts), lacks)
    return Resource.of(kinds.LISTENER, listener.name, body, listener.source)


def _said(callee: str, index: int) -> tuple[str | int, ...]:
    """Return where a service says what it calls."""
    return ("passthrough",) if callee == names.PASSTHROUGH else ("calls", index)


def _by_name(resources: Iterable[Resource]) -> Resources:
    return Resources((resource.name, resource) for resource in resources)
