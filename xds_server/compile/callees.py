"""What the callers of a service get of it, the same for all of them: clusters, routes, endpoint assignments."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from legation.mesh import names
from legation.mesh.errors import Position
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.cluster import service_cluster
from xds_server.compile.endpoint import assignment
from xds_server.compile.locality import Place
from xds_server.compile.pack import resource
from xds_server.compile.route import service_routes, targets
from xds_server.compile.unavailable import Outage
from xds_server.endpoint import Endpoint
from xds_server.snapshot import Resource

Endpoints = Mapping[str, tuple[Endpoint, ...]]
"""The endpoints of each service, by its name."""

_Serving = tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]
_Assigned = tuple[_Serving, Mapping[str, Resource]]


class Callees:
    """Compiles each service once for all of its callers; the newest of each is kept."""

    def __init__(self, mesh: SourcedMesh, connection_life: timedelta) -> None:
        """Take a valid mesh."""
        self._source, self._mesh, self._life = mesh, mesh.mesh, connection_life
        self._connections = ""
        self._clusters: dict[str, tuple[Resource, ...]] = {}
        self._targets: dict[str, tuple[str | None, ...]] = {}
        self._routed: dict[str, tuple[Outage | None, Resource]] = {}
        self._assigned: dict[str, _Assigned] = {}

    def inherit(self, before: "Callees", services: Iterable[str]) -> None:
        """Take over what a mesh before made of services that are unchanged in this one, but for where they stand."""
        kept = before._connections, before._clusters, before._routed  # noqa: SLF001 - of the same class
        for name in services:
            connections, clusters, routed = kept[0], kept[1].get(name), kept[2].get(name)
            if clusters is not None and connections == self._connections:
                self._clusters[name] = tuple(_moved(c, self._source.position("services", name)) for c in clusters)
            if routed is not None:
                place = self._source.position("services", name, "routes")
                self._routed[name] = routed[0], _moved(routed[1], place)

    def targets(self, name: str) -> tuple[str | None, ...]:
        """Return the versions that a service's routes lead to; None: all versions together."""
        if name not in self._targets:
            self._targets[name] = targets(self._mesh.services[name])
        return self._targets[name]

    def renew_connections(self, mark: str) -> None:
        """Have callers make new connections, with the certificates that they have by now; the old ones end in peace.

        Envoy keeps a connection when its certificate is renewed. A cluster that differs, if only in
        a mark, is a new one to it, and takes the place of the old one as soon as it is warm.
        """
        self._connections = mark
        self._clusters.clear()

    def clusters(self, name: str) -> tuple[Resource, ...]:
        """Return a service's clusters: one a target of its routes."""
        if name not in self._clusters:
            self._clusters[name] = tuple(self._cluster(name, version) for version in self.targets(name))
        return self._clusters[name]

    def _cluster(self, name: str, version: str | None) -> Resource:
        cluster = names.cluster(name, version)
        service = self._mesh.services[name]
        answering = [name, *([service.failover] if service.failover else [])]
        identities = [names.spiffe_id(self._mesh.trust_domain, s) for s in answering]
        proto = service_cluster(cluster, name, service, identities, self._life)
        if self._connections:
            proto.metadata.filter_metadata["legation"].update({"connections": self._connections})
        return resource(kinds.CLUSTER, cluster, proto, self._source.position("services", name))

    def routes(self, name: str, outage: Outage | None) -> Resource:
        """Return the routes to a service, with what to say while it has an outage."""
        kept = self._routed.get(name)
        if kept is None or kept[0] != outage:
            proto = service_routes(name, self._mesh.services[name], outage)
            position = self._source.position("services", name, "routes")
            kept = self._routed[name] = outage, resource(kinds.ROUTE, name, proto, position)
        return kept[1]

    def assignments(self, name: str, given: Endpoints) -> Mapping[str, Resource]:
        """Return the assignments of a service's clusters, by cluster; kept until its endpoints change."""
        fresh = self._endpoints(name, given)
        kept = self._assigned.get(name)
        if kept is None or kept[0] != fresh:
            kept = self._assigned[name] = fresh, self._assign(name, fresh, None)
        return kept[1]

    def located(self, name: str, given: Endpoints, place: Place) -> Mapping[str, Resource]:
        """Return the same for callers in one place, where that matters to the service."""
        fair = self._mesh.services[name].load_balancing.locality == "zone_aware"
        return self._assign(name, self._endpoints(name, given), place if fair else Place(place.zone))

    def concern(self, called: Iterable[str], name: str) -> bool:
        """Say whether the assignments of some called services hold endpoints of the service `name`."""
        return any(name in (callee, self._mesh.services[callee].failover) for callee in called)

    def _endpoints(self, name: str, given: Endpoints) -> _Serving:
        """Return a service's endpoints and those of the one that stands in for it."""
        backup = self._mesh.services[name].failover
        return given.get(name, ()), given.get(backup, ()) if backup else ()

    def _assign(self, name: str, serving: _Serving, place: Place | None) -> Mapping[str, Resource]:
        position = self._source.position("services", name)
        made = {}
        for version in self.targets(name):
            cluster = names.cluster(name, version)
            of_version = [e for e in serving[0] if version in (None, e.version)]
            own = [e for e in of_version if e.ready] or of_version
            proto = assignment(cluster, own, place, serving[1])
            made[cluster] = resource(kinds.ENDPOINT, cluster, proto, position)
        return made


def _moved(kept: Resource, position: Position) -> Resource:
    """Return a resource as it comes from another place in mesh.yaml; the same object where that has not moved."""
    return kept if kept.source == position else replace(kept, source=position)
