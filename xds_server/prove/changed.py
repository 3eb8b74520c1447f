"""What a changed mesh has to show to Envoy: the resources that are new by it, each content once. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.mesh import Mesh
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.prove.affected import affected, representatives
from xds_server.prove.rendition import PROVED
from xds_server.snapshot import Resource

Content = tuple[str, str]
"""A resource's type and version: the same bytes need one look, wherever they go."""

_OUTBOUND = names.outbound_listener("")


@dataclass(frozen=True, slots=True)
class Changed:
    """Resources for Envoy to look at, and the names of all clusters that they may refer to."""

    resources: tuple[Resource, ...]
    clusters: frozenset[str]


def content(resource: Resource) -> Content:
    """Return what tells a resource from all others, but for its name."""
    return resource.type_url, resource.version


def changed(
    before: Mesh | None, after: Mesh, compiler: Compiler, nodes: Iterable[InstanceSpec], known: Collection[Content]
) -> Changed:
    """Return what is new in a mesh (`compiler` compiles it), without what is `known` to be good.

    One node stands for all of its service. May run in a thread before anybody else uses the compiler.
    """
    found: dict[Content, Resource] = {}
    clusters: set[str] = set()
    listeners: dict[str, str] = {}
    for node, resource in _of_representatives(before, after, compiler, tuple(nodes)):
        if resource.type_url == kinds.CLUSTER:
            clusters.add(resource.name)
        if resource.type_url != kinds.LISTENER or listeners.setdefault(_kind(resource), node.id) == node.id:
            found.setdefault(content(resource), resource)
    return Changed(tuple(r for key, r in found.items() if key not in known), frozenset(clusters))


def _of_representatives(
    before: Mesh | None, after: Mesh, compiler: Compiler, nodes: tuple[InstanceSpec, ...]
) -> Iterable[tuple[InstanceSpec, Resource]]:
    connected = {node.id for node in nodes}
    for node in representatives(affected(before, after), nodes):
        snapshot = compiler.snapshot(node, {})
        yield from ((node, resource) for kind in PROVED for resource in snapshot.of_type(kind).values())
        if node.id not in connected:
            compiler.forget(node.id)


def _kind(listener: Resource) -> str:
    """Return what listeners have in common that Envoy would judge alike.

    Those of several callers to one callee differ in names and addresses alone.
    """
    return listener.name if listener.name.startswith(_OUTBOUND) else listener.version
