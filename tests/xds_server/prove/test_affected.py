"""Whose proxies a change concerns: held against what compile makes of it."""

import pytest

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from xds_server.compile import Compiler
from xds_server.prove.affected import affected, representatives

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [items, stock, mail], expose: {port: 8080}}
  items: {protocol: http, port: 8080, calls: [stock], failover: spare}
  spare: {protocol: http, port: 8080}
  stock: {protocol: tcp, port: 8080}
  alone: {protocol: http, port: 8080, calls: [asked]}
  asked: {protocol: grpc, port: 8080}
external:
  mail: {host: mail.test, port: 443, tls: true}
"""
ALL = {"web", "items", "spare", "stock", "alone", "asked", names.GATEWAY}

CHANGES: dict[str, tuple[str, str, set[str]]] = {
    "a comment": ("mesh: shop", "mesh: shop # ours", set()),
    "a route": ("failover: spare", "failover: spare, routes: [{timeout: 3s}]", {"web", "items", "stock", "spare"}),
    "nobody stands in any more": (", failover: spare", "", {"web", "items", "stock", "spare"}),
    "a call more of what another stands in for": ("calls: [asked]", "calls: [asked, items]",
                                                  {"alone", "asked", "items", "spare"}),
    "a port": ("spare: {protocol: http, port: 8080", "spare: {protocol: http, port: 8081", {"spare"}),
    "a call more": ("calls: [asked]", "calls: [asked, spare]", {"alone", "asked", "spare"}),
    "a call less": ("calls: [asked]", "calls: []", {"alone", "asked"}),
    "what is exposed": ("expose: {port: 8080}", "expose: {port: 8081}",
                        {"web", "items", "stock", "spare", names.GATEWAY}),
    "nothing exposed any more": (", expose: {port: 8080}", "", {"web", "items", "stock", "spare", names.GATEWAY}),
    "a service more": ("external:", "  new: {protocol: http, port: 1}\nexternal:", {"new"}),
    "tokens": ("asked: {protocol: grpc", "asked: {jwt: {issuer: a, jwks_uri: 'https://a.test/b'}, protocol: grpc",
               {"asked", "alone"}),
    "a server outside": ("mail.test", "post.test", {"web"}),
    "the trust domain": ("trust_domain: shop.local", "trust_domain: store.local", ALL),
    "how long certificates live": ("external:", "certificates: {ttl: 2h}\nexternal:", ALL),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_concerns_those_and_all_whose_snapshots_differ(change):
    old, new, expected = CHANGES[change]
    assert old in MESH
    before, after = load(MESH, "mesh.yaml"), load(MESH.replace(old, new), "mesh.yaml")
    found = affected(before.mesh, after.mesh)
    assert found == expected
    first, second = Compiler(before), Compiler(after)
    differ = {
        node.service
        for node in representatives([*after.mesh.services, names.GATEWAY], [])
        if first.snapshot(node, {}) != second.snapshot(node, {})
    }
    assert differ <= found


@pytest.mark.parametrize("change", CHANGES)
def test_what_all_others_had_is_taken_over_and_is_what_would_be_compiled(change):
    before, after = load(MESH, "mesh.yaml"), load("# lines move\n" + MESH.replace(*CHANGES[change][:2]), "mesh.yaml")
    services, found = frozenset(after.mesh.services), affected(before.mesh, after.mesh)
    known, heir, fresh = Compiler(before), Compiler(after), Compiler(after)
    known.prepare(representatives([*before.mesh.services, names.GATEWAY], []))
    heir.inherit(known, services - found)
    for node in representatives([*services, names.GATEWAY], []):
        heir.forget(node.id)  # the ports that a node keeps are for itself
        assert resources(fresh, node) == resources(heir, node)


def resources(compiler: Compiler, node: InstanceSpec) -> dict[tuple[str, str], tuple[bytes, str]]:
    """Return all that a node gets, and which places in mesh.yaml it comes from."""
    snapshot = compiler.snapshot(node, {})
    found = [(kind, r) for kind in snapshot.types() for r in snapshot.of_type(kind).values()]
    return {(kind, r.name): (r.body, str(r.source)) for kind, r in found}


def test_a_first_mesh_concerns_everybody():
    assert affected(None, load(MESH, "mesh.yaml").mesh) == ALL


def test_a_connected_node_stands_for_its_service_and_a_made_up_one_for_the_others():
    connected = InstanceSpec("web-v2-7", "web", "v2", "1", "10.0.0.1")
    assert [n.id for n in representatives(["web", "items"], [connected])] == ["items-proved-0", "web-v2-7"]
