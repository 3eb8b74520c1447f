"""What the callers of a service get of it, the same for all of them: clusters, routes, endpoint assignments."""

from collections.abc import Mapping
from datetime import timedelta

from legation.mesh import names
from legation.mesh.source import SourcedMesh
from xds_server import snapshot as kinds
from xds_server.compile.cluster import service_cluster
from xds_server.compile.endpoint import assignment
from xds_server.compile.pack import resource
from xds_server.compile.route import service_routes, targets
from xds_server.compile.unavailable import Outage
from xds_server.endpoint import Endpoint
from xds_server.snapshot import Resource

_Assigned = tuple[tuple[Endpoint, ...], Mapping[str, Resource]]


class Callees:
    """Compiles each service once for all of its callers; the newest of each is kept."""

    def __init__(self, mesh: SourcedMesh, connection_life: timedelta) -> None:
        """Take a valid mesh."""
        self._source, self._mesh, self._life = mesh, mesh.mesh, connection_life
        self._clusters: dict[str, tuple[Resource, ...]] = {}
        self._targets: dict[str, tuple[str | None, ...]] = {}
        self._routed: dict[str, tuple[Outage | None, Resource]] = {}
        self._assigned: dict[str, _Assigned] = {}

    def targets(self, name: str) -> tuple[str | None, ...]:
        """Return the versions that a service's routes lead to; None: all versions together."""
        if name not in self._targets:
            self._targets[name] = targets(self._mesh.services[name])
        return self._targets[name]

    def clusters(self, name: str) -> tuple[Resource, ...]:
        """Return a service's clusters: one a target of its routes."""
        if name not in self._clusters:
            self._clusters[name] = tuple(self._cluster(name, version) for version in self.targets(name))
        return self._clusters[name]

    def _cluster(self, name: str, version: str | None) -> Resource:
        cluster = names.cluster(name, version)
        identity = names.spiffe_id(self._mesh.trust_domain, name)
        policy = self._mesh.services[name].load_balancing.policy
        proto = service_cluster(cluster, name, identity, policy, self._life)
        return resource(kinds.CLUSTER, cluster, proto, self._source.position("services", name))

    def routes(self, name: str, outage: Outage | None) -> Resource:
        """Return the routes to a service, with what to say while it has an outage."""
        kept = self._routed.get(name)
        if kept is None or kept[0] != outage:
            proto = service_routes(name, self._mesh.services[name], outage)
            position = self._source.position("services", name, "routes")
            kept = self._routed[name] = outage, resource(kinds.ROUTE, name, proto, position)
        return kept[1]

    def assignments(self, name: str, endpoints: tuple[Endpoint, ...]) -> Mapping[str, Resource]:
        """Return the assignments of a service's clusters, by cluster; kept until its endpoints change."""
        kept = self._assigned.get(name)
        if kept is None or (kept[0] is not endpoints and kept[0] != endpoints):
            kept = self._assigned[name] = endpoints, self._assign(name, endpoints)
        return kept[1]

    def _assign(self, name: str, endpoints: tuple[Endpoint, ...]) -> Mapping[str, Resource]:
        position = self._source.position("services", name)
        made = {}
        for version in self.targets(name):
            cluster = names.cluster(name, version)
            of_version = [e for e in endpoints if version in (None, e.version)]
            serving = [e for e in of_version if e.ready] or of_version
            made[cluster] = resource(kinds.ENDPOINT, cluster, assignment(cluster, serving), position)
        return made
