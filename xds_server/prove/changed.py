"""What a changed mesh has to show to Envoy: the resources that are new by it, each content once. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.model.mesh import Mesh
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.prove.affected import affected, representatives
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

    One node stands for all of its service; of the listeners of several callers to one callee, which differ in names
    and addresses alone, the first is there. May run in a thread before anybody else uses the compiler.
    """
    found: dict[Content, Resource] = {}
    clusters: set[str] = set()
    met: set[str] = set()
    for node in representatives(affected(before, after), nodes):
        for resource in compiler.of_mesh(node, met):
            found.setdefault(content(resource), resource)
            if resource.type_url == kinds.CLUSTER:
                clusters.add(resource.name)
            elif resource.name.startswith(_OUTBOUND):
                met.add(resource.name.removeprefix(_OUTBOUND))
    return Changed(tuple(r for key, r in found.items() if key not in known), frozenset(clusters))
