"""What the compiler shares, keeps and says of its sources."""

from dataclasses import replace

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.health.v3.hds_pb2 import HealthCheckSpecifier

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.compile.unavailable import Outage, outage
from xds_server.endpoint import Endpoint
from xds_server.revocations import Revocations

MESH = """mesh: small
trust_domain: small.local
services:
  web: {protocol: http, port: 8080, calls: [orders, items], expose: {port: 18080}}
  desk: {protocol: http, port: 8080, calls: [orders]}
  orders: {protocol: http, port: 8080, routes: [{split: {v1: 100, v2: 0}}], health_check: {path: /h}}
  items: {protocol: http, port: 8080}
workloads:
  - {service: orders, version: v1, command: [node]}
  - {service: orders, version: v2, command: [node]}
"""
BANK = "external: {bank: {host: bank.example.com, port: 443}}\n"
WEB = InstanceSpec("web-v1-0", "web", "v1", "1", "127.64.0.1", 15006, app_port=20000, metrics_port=15090)
DESK = replace(WEB, id="desk-v1-0", service="desk", address="127.64.1.1")
ORDERS = replace(WEB, id="orders-v1-0", service="orders", address="127.64.2.1")
GATEWAY = replace(WEB, id="gateway-0", service=names.GATEWAY, address="127.64.3.1", app_port=0)
HERE = Endpoint("orders-v1-0", "v1", "127.64.2.1", 15006)


@pytest.fixture
def compiler() -> Compiler:
    return Compiler(load(MESH, "mesh.yaml"))


def test_a_node_gets_what_its_service_calls_and_nothing_else(compiler):
    snapshot = compiler.snapshot(WEB, {})
    assert set(snapshot.of_type(kinds.CLUSTER)) == {"local_app", "orders/v1", "items"}
    assert set(snapshot.of_type(kinds.ENDPOINT)) == {"orders/v1", "items"}
    elsewhere = "outbound/legation-passthrough"
    assert set(snapshot.of_type(kinds.LISTENER)) == {"inbound", "outbound/orders", "outbound/items", elsewhere}
    assert set(snapshot.of_type(kinds.ROUTE)) == {"inbound", "orders", "items"}


def test_the_gateway_gets_what_is_exposed_and_no_app(compiler):
    snapshot = compiler.snapshot(GATEWAY, {})
    assert set(snapshot.of_type(kinds.CLUSTER)) == {"web"}
    assert set(snapshot.of_type(kinds.LISTENER)) == {"gateway/127.0.0.1:18080"}
    assert set(snapshot.of_type(kinds.ROUTE)) == {"web"}


def test_a_service_that_the_mesh_does_not_know_gets_nothing(compiler):
    snapshot = compiler.snapshot(replace(WEB, service="gone"), {})
    assert not [r for kind in snapshot.types() for r in snapshot.of_type(kind)]


def test_what_two_nodes_get_is_one_object(compiler):
    web, desk = (compiler.snapshot(node, {"orders": (HERE,)}) for node in (WEB, DESK))
    for kind, name in ((kinds.CLUSTER, "orders/v1"), (kinds.ENDPOINT, "orders/v1"), (kinds.ROUTE, "orders")):
        assert web.of_type(kind)[name] is desk.of_type(kind)[name]


def test_an_endpoint_that_is_not_ready_is_sent_only_where_a_cluster_has_no_other(compiler):
    """Two versions of items share a cluster: a v2 that starts must get none of v1's requests. orders/v1 is its own."""
    old = replace(HERE, instance="items-v1-0", address="127.64.4.1")
    fresh = replace(old, instance="items-v2-0", version="v2", address="127.64.5.1", ready=False)

    def sent(cluster: str, service: str, *endpoints: Endpoint) -> list[str]:
        found = compiler.snapshot(WEB, {service: endpoints}).of_type(kinds.ENDPOINT)[cluster]
        localities = ClusterLoadAssignment.FromString(found.body).endpoints
        return [host.endpoint.hostname for locality in localities for host in locality.lb_endpoints]

    assert sent("items", "items", old, fresh) == ["items-v1-0"]
    assert sent("items", "items", fresh) == ["items-v2-0"]
    assert sent("items", "items", replace(old, ready=False), replace(fresh, ready=True)) == ["items-v2-0"]
    assert sent("orders/v1", "orders", replace(HERE, ready=False)) == ["orders-v1-0"]


def test_an_endpoint_change_makes_one_assignment_and_nothing_else(compiler):
    before = compiler.snapshot(WEB, {"orders": (HERE,)})
    after = compiler.snapshot(WEB, {"orders": (HERE, replace(HERE, instance="orders-v1-1", address="127.64.9.1"))})
    made = {
        name
        for kind in after.types()
        for name, resource in after.of_type(kind).items()
        if resource is not before.of_type(kind)[name]
    }
    assert made == {"orders/v1"}
    assert before.of_type(kinds.ENDPOINT)["orders/v1"].version != after.of_type(kinds.ENDPOINT)["orders/v1"].version


def test_a_new_life_of_a_node_gets_its_own_listeners(compiler):
    compiler.snapshot(WEB, {})
    moved = compiler.snapshot(replace(WEB, outbound_ports={"orders": 15177}), {})
    fresh = Compiler(load(MESH, "mesh.yaml")).snapshot(replace(WEB, outbound_ports={"orders": 15177}), {})
    assert moved == fresh
    assert moved != compiler.snapshot(WEB, {})


def test_a_port_never_leads_elsewhere_than_before():
    """Envoy refuses a new listener where an old one is that goes with the same change; an app may know the port."""
    told, ports = {"orders": 15100}, []
    node, compiler = replace(WEB, outbound_ports=told), None
    for calls in ("orders, items", "orders, desk", "desk", "bank, desk, orders, items"):
        mesh = load(MESH.replace("[orders, items]", f"[{calls}]") + BANK, "mesh.yaml")
        fresh = Compiler(mesh)
        if compiler is not None:
            fresh.inherit(compiler, ())
        compiler = fresh
        listeners = compiler.snapshot(node, {}).of_type(kinds.LISTENER).items()
        protos = {name: Listener.FromString(b"".join(resource.parts)) for name, resource in listeners}
        ports.append({name: at.address.socket_address.port_value for name, at in protos.items() if "outbound" in name})
    first = {"outbound/orders": 15100, "outbound/items": 15101, "outbound/legation-passthrough": 15102}
    desk = {"outbound/desk": 15103, "outbound/legation-passthrough": 15102}
    assert ports == [first, {"outbound/orders": 15100, **desk}, desk, {**first, **desk, "outbound/bank": 15104}]


def test_interested_are_the_callers_and_the_gateway(compiler):
    found = {service: compiler.interested(service) for service in ("web", "orders", "items", "desk", "gone")}
    assert found == {
        "web": {names.GATEWAY},
        "orders": {"web", "desk"},
        "items": {"web"},
        "desk": set(),
        "gone": set(),
    }


def test_each_resource_knows_its_line(compiler):
    web, gateway = compiler.snapshot(WEB, {}), compiler.snapshot(GATEWAY, {})
    lines = {
        "outbound/orders": web.of_type(kinds.LISTENER)["outbound/orders"].source,
        "orders/v1": web.of_type(kinds.CLUSTER)["orders/v1"].source,
        "orders": web.of_type(kinds.ROUTE)["orders"].source,
        "gateway/127.0.0.1:18080": gateway.of_type(kinds.LISTENER)["gateway/127.0.0.1:18080"].source,
    }
    found = {name: (source.line, source.column) for name, source in lines.items()}
    row = MESH.splitlines()
    assert found == {
        "outbound/orders": (4, row[3].index("orders") + 1),
        "orders/v1": (6, 3),
        "orders": (6, row[5].index("routes") + 1),
        "gateway/127.0.0.1:18080": (4, row[3].index("expose") + 1),
    }


def test_only_a_service_with_a_check_is_checked(compiler):
    checked = {
        node.service: len(HealthCheckSpecifier.FromString(compiler.health_specifier(node)).cluster_health_checks)
        for node in (WEB, ORDERS, GATEWAY)
    }
    assert checked == {"web": 0, "orders": 1, names.GATEWAY: 0}


def test_nodes_of_a_service_share_all_but_their_own(compiler):
    nodes = [replace(WEB, id=f"web-v1-{n}", address=f"127.64.{n}.1") for n in range(5)]
    made = [compiler.snapshot(node, {"orders": (HERE,)}) for node in nodes]
    for kind in (kinds.ENDPOINT, kinds.ROUTE):
        assert len({id(s.of_type(kind)) for s in made}) == 1, "one mapping, so what changes in it is found once"
    assert len({s.of_type(kinds.LISTENER)["inbound"].version for s in made}) == 5
    assert len({id(s.of_type(kinds.CLUSTER)["orders/v1"]) for s in made}) == 1


def test_what_is_kept_of_a_node_goes_with_it(compiler):
    nodes = [replace(WEB, id=f"web-v1-{n}", address=f"127.64.{n}.1") for n in range(5)]
    for node in nodes:
        compiler.snapshot(node, {})
    for node in nodes[1:]:
        compiler.forget(node.id)
    assert set(compiler._kept) == {"web-v1-0"}
    compiler.forget("unknown")


def test_a_change_of_an_endpoint_compiles_nothing_anew_for_any_node_of_thousands(compiler):
    """What was kept of nodes was bounded once, first in, first out: above that a change compiled all of them again."""
    nodes = [replace(WEB, id=f"web-v1-{n}", address=f"127.{n // 250}.{n % 250}.1", app_port=1 + n) for n in range(4200)]
    before = [compiler.snapshot(node, {}) for node in nodes]
    after = [compiler.snapshot(node, {"orders": (HERE,)}) for node in nodes]
    assert all(a.of_type(kinds.CLUSTER) is b.of_type(kinds.CLUSTER) for a, b in zip(after, before, strict=True))
    assert all(a.later is b.later for a, b in zip(after, before, strict=True))


def test_an_unchanged_group_is_the_same_object(compiler):
    first = compiler.group("web", {"orders": (HERE,)}, {})
    again = compiler.group("web", {"orders": (replace(HERE),)}, {})
    assert again.endpoints is first.endpoints
    assert again.routes is first.routes


PLACED = """mesh: placed
trust_domain: placed.local
services:
  web: {protocol: http, port: 8080, calls: [orders, items]}
  orders: {protocol: http, port: 8080, failover: spare}
  items: {protocol: http, port: 8080, load_balancing: {locality: zone_aware}}
  spare: {protocol: http, port: 8080}
  other: {protocol: http, port: 8080}
"""


def test_a_group_is_made_once_for_all_who_connect_and_anew_for_whatever_it_is_made_of():
    """Among it the failover's endpoints, and the callers' own where a callee is asked for by zone."""
    compiler, down = Compiler(load(PLACED, "mesh.yaml")), {"orders": Outage(1.0)}
    given = {name: (replace(HERE, instance=f"{name}-0"),) for name in ("web", "orders", "items", "spare", "other")}
    first = compiler.group("web", given, {})
    moved = (replace(HERE, instance="moved", address="127.64.9.1", zone="b"),)
    assert compiler.group("web", {**given, "other": moved}, {"other": Outage(1.0)}) is first
    for name in ("web", "orders", "items", "spare"):
        fresh = Compiler(load(PLACED, "mesh.yaml")).group("web", {**given, name: moved}, {})
        assert compiler.group("web", {**given, name: moved}, {}) == fresh != compiler.group("web", given, {}), name
    assert compiler.group("web", given, down).outages == down
    compiler.revoke(Revocations(frozenset({"0a"})))
    assert compiler.group("web", given, {}).routes != first.routes


def test_an_outage_changes_the_routes_of_its_service_alone(compiler):
    before = compiler.snapshot(WEB, {})
    during = compiler.snapshot(WEB, {}, {"orders": Outage(1767225600.0, ("v1",))})
    changed = {name for name, r in during.of_type(kinds.ROUTE).items() if r is not before.of_type(kinds.ROUTE)[name]}
    assert changed == {"orders"}
    body = during.of_type(kinds.ROUTE)["orders"].body
    assert b'service=orders; reason="no ready instance of v1"; since=2026-01-01T00:00:00Z' in body
    assert (
        compiler.snapshot(WEB, {}).of_type(kinds.ROUTE)["orders"].version
        == before.of_type(kinds.ROUTE)["orders"].version
    )


@pytest.mark.parametrize(
    ("targets", "ready", "expected"),
    [
        ((None,), frozenset(), Outage(7.0)),
        ((None,), frozenset({"v1"}), None),
        ((None, "v2"), frozenset({"v1"}), Outage(7.0, ("v2",))),
        (("v1", "v2"), frozenset({"v1", "v2"}), None),
        (("v1", "v2"), frozenset(), Outage(7.0)),
    ],
)
def test_an_outage_is_a_target_without_a_ready_instance(targets, ready, expected):
    assert outage(targets, ready, 7.0) == expected


def test_what_is_compiled_ahead_is_what_is_served(compiler):
    ahead = Compiler(load(MESH, "mesh.yaml"))
    ahead.prepare([WEB, GATEWAY, ORDERS])
    assert [ahead.snapshot(n, {}) for n in (WEB, GATEWAY)] == [compiler.snapshot(n, {}) for n in (WEB, GATEWAY)]


@pytest.mark.parametrize("serials", [frozenset(), frozenset({"0a", "0b"})])
def test_what_is_compiled_ahead_outlives_being_told_what_it_knows_to_be_revoked(serials):
    """Each new mesh is told so when it is adopted: to compile it once more would hold the event loop."""
    ahead = Compiler(load(MESH, "mesh.yaml"), Revocations(serials))
    ahead.prepare([WEB])
    made = ahead.snapshot(WEB, {})
    ahead.revoke(Revocations(serials))
    for kind in (kinds.LISTENER, kinds.CLUSTER):
        assert ahead.snapshot(WEB, {}).of_type(kind) is made.of_type(kind)
    ahead.revoke(Revocations(serials | {"0c"}))
    assert ahead.snapshot(WEB, {}).of_type(kinds.CLUSTER) is not made.of_type(kinds.CLUSTER)


def test_listeners_are_made_when_they_are_asked_for_and_once(compiler):
    snapshot = compiler.snapshot(WEB, {})
    assert kinds.LISTENER in snapshot.types()
    assert kinds.LISTENER not in snapshot.by_type
    made = snapshot.of_type(kinds.LISTENER)
    assert made
    assert compiler.snapshot(WEB, {"orders": (HERE,)}).of_type(kinds.LISTENER) is made


def test_a_trial_sees_each_listener_to_a_callee_once(compiler):
    """What a stock Envoy is to look at before a node gets it; nothing is kept for the node."""
    made = {resource.name for resource in compiler.of_mesh(WEB)}
    assert {"local_app", "orders/v1", "inbound", "outbound/orders", "outbound/items"} <= made
    assert "outbound/orders" not in {resource.name for resource in compiler.of_mesh(WEB, {"orders"})}
    assert "gateway/127.0.0.1:18080" in {resource.name for resource in compiler.of_mesh(GATEWAY, {"web"})}


TCP = """mesh: tcp
trust_domain: tcp.local
services:
  web: {protocol: tcp, port: 8080, calls: [db]}
  desk: {protocol: http, port: 8080}
  db: {protocol: tcp, port: 5432}
"""


@pytest.mark.parametrize(
    ("owner", "serves", "expected"),
    [
        ("web", False, {"db"}),
        ("web", True, {"db", "outbound/web"}),
        ("db", True, {"outbound/db"}),
        ("desk", True, set()),
        (None, True, {"web", "db", "outbound/web", "outbound/db"}),
    ],
)
def test_connections_of_an_identity_are_those_to_whom_it_calls_and_from_its_callers(owner, serves, expected):
    compiler = Compiler(load(TCP, "mesh.yaml"))
    assert compiler.connections_of(owner, serves=serves) == expected


def test_listeners_are_made_anew_where_connections_had_to_end():
    compiler = Compiler(load(TCP, "mesh.yaml"))
    node = replace(WEB, service="db", id="db-v1-0")
    before = compiler.snapshot(node, {}).of_type(kinds.LISTENER)
    compiler.revoke(Revocations(frozenset({"0a"}), {"db": "mark"}))
    assert compiler.snapshot(node, {}).of_type(kinds.LISTENER) != before


def test_what_a_mesh_before_made_of_unchanged_services_is_the_same_object(compiler):
    compiler.prepare([WEB, DESK])
    heir = Compiler(load(MESH, "mesh.yaml"))
    heir.inherit(compiler, {"web", "orders"})
    had, has = (c.snapshot(WEB, {}) for c in (compiler, heir))
    assert has.of_type(kinds.CLUSTER)["orders/v1"] is had.of_type(kinds.CLUSTER)["orders/v1"]
    assert has.of_type(kinds.ROUTE)["orders"] is had.of_type(kinds.ROUTE)["orders"]
    assert has.of_type(kinds.CLUSTER)["items"] is not had.of_type(kinds.CLUSTER)["items"]
    listeners = [s.of_type(kinds.LISTENER)["outbound/orders"] for s in (had, has)]
    assert listeners[0].parts[1] is listeners[1].parts[1]


def test_nothing_is_taken_over_that_revoked_certificates_change():
    mesh = load(MESH.replace("items: {protocol: http", "items: {protocol: tcp"), "mesh.yaml")
    before, drained = Compiler(mesh), {names.outbound_listener("items"): "1"}
    before.prepare([WEB])
    revoked = Revocations(frozenset({"01"}), drained)
    heir, fresh = Compiler(mesh, revoked), Compiler(mesh, revoked)
    heir.inherit(before, {"web", "orders", "items"})
    assert fresh.snapshot(WEB, {}) == heir.snapshot(WEB, {})
    assert before.snapshot(WEB, {}) != heir.snapshot(WEB, {})
