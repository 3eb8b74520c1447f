"""How apps in containers reach whom they call: what is at which port, and who is told by which Host."""

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.compile.by_name import by_host_routes, by_port, indistinct
from xds_server.compile.unavailable import Outage

SOURCE = load(
    """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 80, calls: [a, b, cache, queue, c, blog]}
  a: {protocol: http, port: 80}
  b: {protocol: grpc, port: 80}
  c: {protocol: http, port: 6379}
  cache: {protocol: tcp, port: 6379}
  queue: {protocol: tcp, port: 6379}
external:
  blog: {host: blog.example.com, port: 80, tls: false}
""",
    "mesh.yaml",
)
MESH = SOURCE.mesh
CALLED = [call.service for call in MESH.services["web"].calls]


def test_http_shares_a_port_and_connections_have_it_alone() -> None:
    assert by_port(MESH, CALLED) == {80: ["a", "b", "blog"], 6379: ["cache"]}
    assert list(indistinct(MESH, CALLED)) == [("queue", 6379), ("c", 6379)]
    assert by_port(MESH, ["c", "cache"]) == {6379: ["c"]}


def test_the_way_to_what_has_no_name_here_has_a_port_of_its_own() -> None:
    assert by_port(MESH, [*CALLED, names.PASSTHROUGH])[names.OUTBOUND_PORT_BASE] == [names.PASSTHROUGH]


def test_each_has_its_own_routes_for_its_name_and_nobody_else_any() -> None:
    routes = by_host_routes(MESH, 80, ["a", "b", "blog"], {"b": Outage(0.0)})
    assert {h.name: list(h.domains) for h in routes.virtual_hosts} == {
        "a": ["a"], "b": ["b"], "blog": ["blog"], "elsewhere": ["*"],
    }  # fmt: skip
    assert routes.ignore_port_in_host_matching
    first = {h.name: h.routes[0] for h in routes.virtual_hosts}
    assert first["blog"].route.host_rewrite_literal == "blog.example.com"
    assert [r.name for r in routes.virtual_hosts[-1].routes] == ["refused.host", "refused.trace"], "none of its own"
    assert "legation" in first["b"].metadata.filter_metadata
    assert not first["a"].metadata.filter_metadata


def test_what_is_proved_of_a_container_are_its_own_routes_too() -> None:
    node = InstanceSpec("web-a", "web", "v1", "1", "10.0.0.1", app_address="web", app_port=80, by_name=True)
    found = [r.name for r in Compiler(SOURCE).of_mesh(node) if r.type_url == kinds.ROUTE]
    assert "outbound/:80" in found
