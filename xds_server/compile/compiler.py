"""A mesh, a node and the endpoints in; what that node should have out. Pure, and lazy about what has not changed."""

from collections.abc import Mapping

from legation.mesh import names
from legation.mesh.model.service import Service
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.cluster import app_cluster, service_cluster
from xds_server.compile.endpoint import assignment
from xds_server.compile.gateway import gateway_listener
from xds_server.compile.health_check import specifier
from xds_server.compile.inbound import inbound_listener
from xds_server.compile.outbound import outbound_listener
from xds_server.compile.pack import resource, serialize
from xds_server.compile.rbac import callers
from xds_server.compile.route import inbound_routes, service_routes, targets
from xds_server.node import Endpoint, Node
from xds_server.snapshot import Resource, Snapshot

_CONNECTIONS_PER_LIFE = 4
"""A connection lives a quarter of a certificate's life: it never outlives the certificate by much."""

_NODES_KEPT = 4096
"""Nodes whose own resources are remembered; instances come and go, so the oldest are forgotten."""


class Compiler:
    """Compiles one mesh. What several nodes get is one Resource object; an endpoint change makes one assignment."""

    def __init__(self, mesh: SourcedMesh) -> None:
        """Take a mesh that has no fault."""
        self._source = mesh
        self._mesh = mesh.mesh
        self._connection_life = self._mesh.certificates.ttl / _CONNECTIONS_PER_LIFE
        self._callers = callers(self._mesh)
        self._called: dict[str, Snapshot] = {}
        self._own: dict[str, tuple[Node, Snapshot]] = {}
        self._assigned: dict[str, tuple[tuple[Endpoint, ...], Mapping[str, Resource]]] = {}
        self._inbound_routes = resource(kinds.ROUTE, names.INBOUND, inbound_routes(), mesh.position("services"))

    def snapshot(self, node: Node, endpoints: Mapping[str, tuple[Endpoint, ...]]) -> Snapshot:
        """Return all that a node should have; `endpoints` are those of each service, by its name.

        A service that the mesh does not know has nothing.
        """
        assignments: dict[str, Resource] = {}
        for callee in self._callees(node.service):
            assignments |= self._assignments(callee, endpoints.get(callee, ()))
        return Snapshot({**self._without_endpoints(node).by_type, kinds.ENDPOINT: assignments})

    def health_specifier(self, node: Node) -> bytes:
        """Return a serialised envoy.service.health.v3.HealthCheckSpecifier: how this node checks its app."""
        return serialize(specifier(node, self._mesh.services.get(node.service)))

    def interested(self, service: str) -> frozenset[str]:
        """Return the services (and the gateway) whose snapshots hold the endpoints of a service."""
        return frozenset(self._callers.get(service, ()))

    def _callees(self, service: str) -> tuple[str, ...]:
        """Return the services whose clusters a service's proxies get, in the order of the file."""
        if service == names.GATEWAY:
            return self._mesh.exposed()
        known = self._mesh.services.get(service)
        return tuple(call.service for call in known.calls) if known is not None else ()

    def _without_endpoints(self, node: Node) -> Snapshot:
        """Return what only a new mesh or a new life of the node changes."""
        kept = self._own.get(node.id)
        if kept is not None and kept[0] == node:
            return kept[1]
        shared = [self._callee(callee) for callee in self._callees(node.service)]
        found = [r for part in shared for by_name in part.by_type.values() for r in by_name.values()]
        self._own[node.id] = (node, Snapshot.of([*found, *self._node_resources(node)]))
        if len(self._own) > _NODES_KEPT:
            self._own.pop(next(iter(self._own)))
        return self._own[node.id][1]

    def _node_resources(self, node: Node) -> list[Resource]:
        if node.service == names.GATEWAY:
            return [self._gateway(service, node) for service in self._mesh.exposed()]
        service = self._mesh.services.get(node.service)
        return [*self._inbound(node, service), *self._outbound(node)] if service is not None else []

    def _inbound(self, node: Node, service: Service) -> list[Resource]:
        """Return what brings requests to the node's own app."""
        position = self._source.position("services", node.service)
        app = app_cluster(node.app_address, node.app_port, service.protocol)
        front = inbound_listener(node, self._mesh.trust_domain, self._callers[node.service], self._connection_life)
        return [
            resource(kinds.CLUSTER, names.LOCAL_APP, app, position),
            resource(kinds.LISTENER, names.INBOUND, front, position),
            self._inbound_routes,
        ]

    def _outbound(self, node: Node) -> list[Resource]:
        """Return the listeners through which the node's app calls others."""
        callees = self._callees(node.service)
        ports = names.outbound_ports(callees, node.outbound_ports)
        return [
            resource(
                kinds.LISTENER,
                names.outbound_listener(callee),
                outbound_listener(node, callee, ports[callee]),
                self._source.position("services", node.service, "calls", index),
            )
            for index, callee in enumerate(callees)
        ]

    def _gateway(self, service: str, node: Node) -> Resource:
        expose = self._mesh.services[service].expose
        if expose is None:
            raise AssertionError(f"{service} is not exposed")
        position = self._source.position("services", service, "expose")
        port = node.outbound_ports.get(service, expose.port)
        front = gateway_listener(service, expose, port)
        return resource(kinds.LISTENER, names.gateway_listener(port), front, position)

    def _callee(self, name: str) -> Snapshot:
        """Return the clusters and the routes of a service, the same for all of its callers."""
        if name not in self._called:
            self._called[name] = Snapshot.of([*self._clusters(name), self._routes(name)])
        return self._called[name]

    def _clusters(self, name: str) -> list[Resource]:
        service = self._mesh.services[name]
        identity = names.spiffe_id(self._mesh.trust_domain, name)
        position = self._source.position("services", name)
        clusters = [names.cluster(name, version) for version in targets(service)]
        policy = service.load_balancing.policy
        return [
            resource(kinds.CLUSTER, c, service_cluster(c, name, identity, policy, self._connection_life), position)
            for c in clusters
        ]

    def _routes(self, name: str) -> Resource:
        service = self._mesh.services[name]
        position = self._source.position("services", name, "routes")
        return resource(kinds.ROUTE, name, service_routes(name, service), position)

    def _assignments(self, name: str, endpoints: tuple[Endpoint, ...]) -> Mapping[str, Resource]:
        """Return the assignments of a service's clusters, by cluster; kept until its endpoints change."""
        kept = self._assigned.get(name)
        if kept is not None and kept[0] == endpoints:
            return kept[1]
        position = self._source.position("services", name)
        made = {}
        for version in targets(self._mesh.services[name]):
            cluster = names.cluster(name, version)
            of_version = [e for e in endpoints if version in (None, e.version)]
            made[cluster] = resource(kinds.ENDPOINT, cluster, assignment(cluster, of_version), position)
        self._assigned[name] = (endpoints, made)
        return made
