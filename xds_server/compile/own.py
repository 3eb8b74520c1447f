"""What a node has for itself: its listeners and its app's cluster. Nodes of one service differ in addresses alone."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.caller import caller_filters
from xds_server.compile.cluster import app_cluster
from xds_server.compile.gateway import gateway_listener
from xds_server.compile.inbound import inbound_chain, inbound_listener
from xds_server.compile.listener import Chain
from xds_server.compile.outbound import outbound_chain, outbound_listener
from xds_server.compile.pack import resource
from xds_server.compile.rbac import Callers
from xds_server.compile.route import inbound_routes
from xds_server.snapshot import Resource, Resources


class Own:
    """Compiles nodes; what listeners of one service share is built once."""

    def __init__(self, mesh: SourcedMesh, allowed: Mapping[str, Callers], connection_life: timedelta) -> None:
        """Take a valid mesh, and who may call each of its services."""
        self._source, self._mesh, self._life = mesh, mesh.mesh, connection_life
        self._allowed = allowed
        self._inbound: dict[str, Chain] = {}
        self._outbound: dict[tuple[str, str], Chain] = {}
        self.inbound_routes = resource(kinds.ROUTE, names.INBOUND, inbound_routes(), mesh.position("services"))

    def clusters(self, node: InstanceSpec) -> Resources:
        """Return a node's own clusters."""
        return _by_name([self._app(node)] if node.service in self._mesh.services else [])

    def listeners(self, node: InstanceSpec, called: Sequence[str]) -> Resources:
        """Return a node's listeners; `called` are the services that it reaches."""
        if node.service == names.GATEWAY:
            return _by_name(self._gateway(service, node) for service in called)
        if node.service not in self._mesh.services:
            return _by_name([])
        return _by_name([self._in(node), *self._out(node, called)])

    def _app(self, node: InstanceSpec) -> Resource:
        proto = app_cluster(node.app_address, node.app_port, self._mesh.services[node.service].protocol)
        return resource(kinds.CLUSTER, names.LOCAL_APP, proto, self._source.position("services", node.service))

    def _in(self, node: InstanceSpec) -> Resource:
        """Return the listener that brings requests to the node's own app."""
        service = node.service
        if service not in self._inbound:
            allowed = self._allowed[service]
            called = self._mesh.services[service]
            self._inbound[service] = inbound_chain(service, called, self._mesh.trust_domain, allowed, self._life)
        body = inbound_listener(node, self._inbound[service])
        return Resource.of(kinds.LISTENER, names.INBOUND, body, self._source.position("services", service))

    def _out(self, node: InstanceSpec, called: Sequence[str]) -> list[Resource]:
        """Return the listeners through which the node's app calls others."""
        ports = names.outbound_ports(called, node.outbound_ports)
        return [
            Resource.of(
                kinds.LISTENER,
                names.outbound_listener(callee),
                outbound_listener(node, callee, ports[callee], self._chain(node.service, callee)),
                self._source.position("services", node.service, "calls", index),
            )
            for index, callee in enumerate(called)
        ]

    def _chain(self, service: str, callee: str) -> Chain:
        if (service, callee) not in self._outbound:
            filters = caller_filters(self._mesh.services[callee])
            self._outbound[service, callee] = outbound_chain(callee, service, filters)
        return self._outbound[service, callee]

    def _gateway(self, service: str, node: InstanceSpec) -> Resource:
        expose = self._mesh.services[service].expose
        if expose is None:
            raise AssertionError(f"{service} is not exposed")
        position = self._source.position("services", service, "expose")
        port = node.outbound_ports.get(service, expose.port)
        body = gateway_listener(service, expose, port, node, caller_filters(self._mesh.services[service]))
        return Resource.of(kinds.LISTENER, names.gateway_listener(port), body, position)


def _by_name(resources: Iterable[Resource]) -> Resources:
    return Resources((resource.name, resource) for resource in resources)
