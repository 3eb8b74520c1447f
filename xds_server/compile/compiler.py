"""A mesh, a node and the registry in; what that node should have out. Pure, and lazy about what has not changed.

What all nodes of a service share is compiled once for the service; a node's own are its listeners
and its app's cluster. An endpoint change makes one assignment and one new mapping a calling service.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import sha256
from weakref import WeakValueDictionary

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.callees import Callees
from xds_server.compile.health_check import specifier
from xds_server.compile.interest import interested
from xds_server.compile.locality import Place, count_zones
from xds_server.compile.own import Own
from xds_server.compile.pack import serialize
from xds_server.compile.rbac import callers
from xds_server.compile.unavailable import Outage
from xds_server.endpoint import Endpoint
from xds_server.revocations import NONE_REVOKED, Revocations
from xds_server.snapshot import NO_RESOURCES, Resource, Resources, Snapshot

_CONNECTIONS_PER_LIFE = 4
"""A connection lives a quarter of a certificate's life: it never outlives the certificate by much."""


@dataclass(frozen=True, slots=True)
class Group:
    """What changes with the registry, the same for all nodes of a service: endpoints and routes, by name.

    `located` are the endpoints of the services whose assignments depend on a node's place; `callers` counts
    the service's own instances by zone, for those. `outages` are those of the called services.
    """

    endpoints: Resources
    routes: Resources
    located: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    callers: Mapping[str, int] = field(default_factory=dict)
    outages: Mapping[str, Outage] = field(default_factory=dict)


_NO_GROUP = Group(NO_RESOURCES, NO_RESOURCES)

Kept = tuple[Resources, Mapping[str, Callable[[], Resources]]]
"""A node's clusters, and how to make its listeners: many, and large, where a node calls many."""


class Compiler:
    """Compiles one mesh. What several nodes get is one Resource object."""

    def __init__(self, mesh: SourcedMesh, revoked: Revocations = NONE_REVOKED) -> None:
        """Take a valid mesh, and which certificates are revoked."""
        self._mesh = mesh.mesh
        self._callers = callers(self._mesh)
        life = self._mesh.certificates.ttl / _CONNECTIONS_PER_LIFE
        self._interested = interested(self._mesh)
        self._callees = Callees(mesh, life)
        self._own = Own(mesh, self._callers, life)
        self._groups: dict[str, tuple[tuple[object, ...], Group]] = {}
        self._calls: dict[str, tuple[str, ...]] = {}
        self._listens: dict[str, tuple[str, ...]] = {}
        self._heards: dict[str, tuple[str, ...]] = {}
        self._clusters: dict[str, Resources] = {}
        self._joined: WeakValueDictionary[tuple[object, ...], Resources] = WeakValueDictionary()
        self._placed: dict[tuple[str, str], tuple[Group, Resources]] = {}
        self._named: dict[str, tuple[Resources, Resources]] = {}
        self._kept: dict[str, tuple[InstanceSpec, Kept]] = {}
        self._renewed: frozenset[str] = frozenset()
        self.revoke(revoked)

    def revoke(self, revoked: Revocations) -> None:
        """Deny what peers with these certificates ask for, from now on."""
        self.renew_connections(revoked.serials)
        if self._own.revoke(revoked):
            self._kept.clear()

    def renew_connections(self, serials: frozenset[str]) -> None:
        """Have all callers make new connections, once for each set of revoked certificates."""
        if serials == self._renewed:
            return
        self._renewed = serials
        mark = sha256(",".join(sorted(serials)).encode()).hexdigest()[:16] if serials else ""
        self._callees.renew_connections(mark)
        self._clusters.clear()
        self._joined.clear()
        self._kept.clear()

    def snapshot(
        self,
        node: InstanceSpec,
        endpoints: Mapping[str, tuple[Endpoint, ...]],
        outages: Mapping[str, Outage] | None = None,
    ) -> Snapshot:
        """Return all that a node should have; `endpoints` and `outages` are those of each service, by its name.

        A service that the mesh does not know has nothing.
        """
        return self.join(node, self.group(node.service, endpoints, outages or {}))

    def group(
        self, service: str, endpoints: Mapping[str, tuple[Endpoint, ...]], outages: Mapping[str, Outage]
    ) -> Group:
        """Return what the nodes of a service share of the registry: the same object until something of it changes.

        Thousands of streams that connect ask for it, one by one.
        """
        heard = tuple(map(endpoints.get, self._heard(service)))
        down = tuple(map(outages.get, self._called(service)))
        key = (heard, down, self._own.inbound_routes)
        kept = self._groups.get(service)
        if kept is None or kept[0] != key:
            fresh = self._group(service, _NO_GROUP if kept is None else kept[1], endpoints, outages)
            kept = self._groups[service] = key, fresh
        return kept[1]

    def _group(
        self,
        service: str,
        kept: Group,
        endpoints: Mapping[str, tuple[Endpoint, ...]],
        outages: Mapping[str, Outage],
    ) -> Group:
        """Compile it anew; an unchanged mapping is the same object."""
        called, located = self._called(service), self._located_of(service)
        assigned: dict[str, Resource] = {}
        for callee in called:
            if callee not in located:
                assigned |= self._callees.assignments(callee, endpoints)
        down = {callee: outages[callee] for callee in called if callee in outages}
        fresh = Group(_same(kept.endpoints, assigned), _same(kept.routes, self._routes(service, outages)), outages=down)
        if not located:
            return fresh
        theirs = {name: found for name, found in endpoints.items() if self._callees.concern(located, name)}
        return replace(fresh, located=theirs, callers=count_zones(endpoints.get(service, ())))

    def _routes(self, service: str, outages: Mapping[str, Outage]) -> dict[str, Resource]:
        routed = [callee for callee in self._called(service) if self._mesh.services[callee].protocol != "tcp"]
        routes = {callee: self._callees.routes(callee, outages.get(callee)) for callee in routed}
        if service in self._mesh.services and self._mesh.services[service].protocol != "tcp":
            routes[names.INBOUND] = self._own.routes_to_app(service)
        if service == names.GATEWAY:
            routes |= self._own.edge_routes(outages)
        return routes | self._own.outside_routes(self._reached(service))

    def of_mesh(self, node: InstanceSpec, met: Container[str] = ()) -> Iterator[Resource]:
        """Yield what a node gets, but for what the registry says, and for the listeners towards callees that are `met`.

        Without the one that leads nowhere, in which nothing is mesh.yaml's. Nothing is kept for the node.
        """
        reached = self._reached(node.service)
        fresh = reached if node.service == names.GATEWAY else [name for name in reached if name not in met]
        yield from self._shared_clusters(node.service).values()
        yield from self._own.clusters(node).values()
        yield from self._own.listeners(node, fresh).values()
        routes = self._routes(node.service, {})
        if node.by_name:
            routes |= self._own.named_routes(node.service, self._reached(node.service), {})
        yield from routes.values()

    def join(self, node: InstanceSpec, group: Group) -> Snapshot:
        """Return a node's snapshot of its service's group and its own resources."""
        clusters, later = self._without_registry(node)
        endpoints = self._located(node, group) if group.located else group.endpoints
        routes = self._by_name(node.service, group) if node.by_name else group.routes
        by_type = {kinds.CLUSTER: clusters, kinds.ENDPOINT: endpoints, kinds.ROUTE: routes}
        return Snapshot(by_type, later)

    def _by_name(self, service: str, group: Group) -> Resources:
        """Return the routes of a service's containers, which have some of their own; the same while the group's are."""
        kept = self._named.get(service)
        if kept is None or kept[0] is not group.routes:
            own = self._own.named_routes(service, self._reached(service), group.outages)
            kept = self._named[service] = group.routes, Resources({**group.routes, **own})
        return kept[1]

    def _located(self, node: InstanceSpec, group: Group) -> Resources:
        """Return all assignments of a node, some of them as its zone sees them; the same for its zone's nodes."""
        key = (node.service, node.zone)
        kept = self._placed.get(key)
        if kept is not None and kept[0] == group:
            return kept[1]
        place, found = Place(node.zone, group.callers), Resources(group.endpoints)
        for callee in self._called(node.service):
            if self._mesh.services[callee].load_balancing.locality != "any":
                found.update(self._callees.located(callee, group.located, place))
        self._placed[key] = group, found
        return found

    def inherit(self, before: "Compiler", services: Collection[str]) -> None:
        """Take over what was compiled for services whose proxies get nothing new by this mesh.

        May run in a thread before anybody else uses this compiler, while another uses the one before.
        """
        callees, own = before._callees, before._own  # noqa: SLF001 - of the same class
        self._callees.inherit(callees, services)
        self._own.inherit(own, services)

    def prepare(self, nodes: Iterable[InstanceSpec]) -> None:
        """Compile ahead what depends on the mesh alone; may run in a thread before anybody else uses this compiler."""
        for node in nodes:
            _, later = self._without_registry(node)
            later[kinds.LISTENER]()
            for callee in self._called(node.service):
                self._callees.routes(callee, None)

    def forget(self, node_id: str) -> None:
        """Drop what is kept for a node that is gone."""
        self._kept.pop(node_id, None)
        self._own.forget(node_id)

    def health_specifier(self, node: InstanceSpec) -> bytes:
        """Return a serialised envoy.service.health.v3.HealthCheckSpecifier: how this node checks its app."""
        return serialize(specifier(node, self._mesh.services.get(node.service)))

    def is_checked(self, service: str) -> bool:
        """Say whether a service's sidecars check their apps."""
        known = self._mesh.services.get(service)
        return known is not None and known.health_check is not None

    def interested(self, service: str) -> frozenset[str]:
        """Return the services (and the gateway) whose snapshots hold the endpoints of a service."""
        return self._interested.get(service, frozenset())

    def connections_of(self, owner: str | None, *, serves: bool) -> frozenset[str]:
        """Return where an identity may have TCP connections: services that it calls, listeners that lead to itself.

        Whose nobody knows may have all of them. One that `serves` has those that it was called by, too.
        """
        tcp = [name for name in self._mesh.services if self._mesh.services[name].protocol == "tcp"]
        called = {name for name in tcp if owner is None or owner in self._callers[name]}
        own = {names.outbound_listener(name) for name in tcp if owner in (None, name)}
        return frozenset(called | own if serves else called)

    def knows(self, service: str) -> bool:
        """Say whether the mesh has a service."""
        return service in self._mesh.services

    def targets(self, service: str) -> tuple[str | None, ...]:
        """Return the versions that a service's routes lead to; None: all versions together."""
        return self._callees.targets(service)

    def _called(self, service: str) -> tuple[str, ...]:
        """Return the services whose clusters a service's proxies get, in the order of the file."""
        if service not in self._calls:
            self._calls[service] = self._calls_of(service)
        return self._calls[service]

    def _calls_of(self, service: str) -> tuple[str, ...]:
        if service == names.GATEWAY:
            return self._mesh.exposed()
        known = self._mesh.services.get(service)
        called = (call.service for call in known.calls) if known is not None else ()
        return tuple(name for name in called if name in self._mesh.services)

    def _located_of(self, service: str) -> frozenset[str]:
        """Return the called services whose assignments depend on a node's place."""
        services = self._mesh.services
        return frozenset(c for c in self._called(service) if services[c].load_balancing.locality != "any")

    def _heard(self, service: str) -> tuple[str, ...]:
        """Return the services whose endpoints a service's group is made of."""
        if service not in self._heards:
            called = self._called(service)
            backups = (backup for c in called if (backup := self._mesh.services[c].failover) is not None)
            self._heards[service] = (*called, *backups, *([service] if self._located_of(service) else []))
        return self._heards[service]

    def _reached(self, service: str) -> tuple[str, ...]:
        """Return all that a service's proxies lead to, servers outside of the mesh too."""
        return self._mesh.reached(service) if service in self._mesh.services else self._called(service)

    def _listened(self, node: InstanceSpec) -> tuple[str, ...]:
        """Return all that a node has a listener for: whatever leads nowhere is for an app that `legation run` tells."""
        is_told = not (node.by_name or node.standalone) and node.service in self._mesh.services
        if not is_told:
            return self._reached(node.service)
        if node.service not in self._listens:
            self._listens[node.service] = self._mesh.listened(node.service)
        return self._listens[node.service]

    def _without_registry(self, node: InstanceSpec) -> Kept:
        """Return what only a new mesh or a new life of the node changes."""
        kept = self._kept.get(node.id)
        if kept is None or (kept[0] is not node and kept[0] != node):
            listeners = cache(partial(self._own.listeners, node, self._listened(node)))
            kept = self._kept[node.id] = node, (self._clusters_of(node), {kinds.LISTENER: listeners})
        return kept[1]

    def _clusters_of(self, node: InstanceSpec) -> Resources:
        """Return a node's clusters, one value for all nodes of a service whose apps are at the same address.

        And whose Envoys know the same.
        """
        key = (node.service, node.app_address, node.app_port, node.by_name, node.lacks)
        found = self._joined.get(key)
        if found is None:
            found = Resources({**self._shared_clusters(node.service), **self._own.clusters(node)})
            self._joined[key] = found
        return found

    def _shared_clusters(self, service: str) -> Resources:
        if service not in self._clusters:
            called = self._called(service)
            found = [c for callee in called for c in self._callees.clusters(callee)]
            found += self._own.outside_clusters(self._reached(service))
            self._clusters[service] = Resources((c.name, c) for c in found)
        return self._clusters[service]


def _same(kept: Resources, fresh: dict[str, Resource]) -> Resources:
    """Return the kept mapping where the fresh one holds the same objects: what is the same is not compared again."""
    if len(kept) == len(fresh) and all(kept.get(n) is r for n, r in fresh.items()):
        return kept
    return Resources(fresh)
