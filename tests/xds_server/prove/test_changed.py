"""What of a changed mesh an Envoy has to look at."""

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from xds_server.compile import Compiler
from xds_server.prove.changed import changed
from xds_server.snapshot import CLUSTER, LISTENER, ROUTE

GOOD = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders, stock], expose: {port: 8080}}
  orders: {protocol: http, port: 8080, routes: [{match: {regex: /a+}}]}
  stock: {protocol: tcp, port: 8080}
"""


def test_an_envoy_looks_at_what_is_new_and_at_each_content_once():
    mesh, after = load(GOOD, "mesh.yaml"), load(GOOD.replace("a+", "c+"), "mesh.yaml")
    nodes = [InstanceSpec(f"web-v1-{n}", "web", "v1", "1", f"127.64.{n}.1", app_port=20000) for n in range(9)]
    everything = changed(None, mesh.mesh, Compiler(mesh), nodes, ())
    known = {(r.type_url, r.version) for r in everything.resources}
    assert len(known) == len(everything.resources)
    assert [r.name for r in everything.resources].count("outbound/orders") == 1
    assert changed(mesh.mesh, mesh.mesh, Compiler(mesh), nodes, ()).resources == ()
    (route,) = changed(mesh.mesh, after.mesh, Compiler(after), nodes, known).resources
    assert route.name == "orders"


def test_all_that_a_mesh_comes_to_is_in_a_first_one_but_for_endpoints():
    mesh = load(GOOD, "mesh.yaml")
    everything = changed(None, mesh.mesh, Compiler(mesh), [], ())
    named = {(r.type_url, r.name) for r in everything.resources}
    assert {url for url, _ in named} == {CLUSTER, LISTENER, ROUTE}
    assert {name for url, name in named if url == LISTENER} == {
        names.INBOUND,
        names.outbound_listener("orders"),
        names.outbound_listener("stock"),
        names.gateway_listener("127.0.0.1", 8080),
    }
    assert everything.clusters == {"orders", "stock", "web", names.LOCAL_APP}
    assert [r.name for r in everything.resources].count(names.INBOUND) == 3 + 1  # a listener each, and their routes
