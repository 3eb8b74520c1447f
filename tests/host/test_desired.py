"""Which instances a mesh file wants here, and which slots they get."""

import pytest

from legation.host.desired import InstanceSpec, desired, slots
from legation.host.layout import HostFile, gateway_url
from legation.mesh.load import load

MESH = """
mesh: shop
trust_domain: shop.local
services:
  web: {protocol: http, port: 8080, calls: [orders], expose: {port: 8080}}
  orders: {protocol: http, port: 8080}
workloads:
  - {service: web, command: [node, web.js]}
  - {service: orders, version: v2, instances: 2, command: [node, orders.js], env: {B: "2", A: "1"}}
"""


def test_the_gateway_and_each_instance_are_wanted() -> None:
    assert desired(load(MESH, "mesh.yaml").mesh) == (
        InstanceSpec("legation-gateway-0", "legation-gateway", "v1"),
        InstanceSpec("web-v1-0", "web", "v1", ("node", "web.js")),
        InstanceSpec("orders-v2-0", "orders", "v2", ("node", "orders.js"), (("A", "1"), ("B", "2"))),
        InstanceSpec("orders-v2-1", "orders", "v2", ("node", "orders.js"), (("A", "1"), ("B", "2"))),
    )


def test_without_an_exposed_service_there_is_no_gateway() -> None:
    mesh = load(MESH.replace(", expose: {port: 8080}", ""), "mesh.yaml").mesh
    assert [w.id for w in desired(mesh)] == ["web-v1-0", "orders-v2-0", "orders-v2-1"]
    assert gateway_url(mesh, {}) is None


def instances(*ids: str) -> tuple[InstanceSpec, ...]:
    return tuple(InstanceSpec(i, "s", "v1") for i in ids)


def test_slots_stay_where_they_are_and_are_used_again() -> None:
    first = slots(instances("a", "b", "c"), {})
    assert first == {"a": 0, "b": 1, "c": 2}
    assert slots(instances("c", "d", "a"), first) == {"c": 2, "d": 1, "a": 0}


def test_a_full_block_is_said() -> None:
    with pytest.raises(ValueError, match="256 instances; a host takes 255"):
        slots(instances(*(str(n) for n in range(256))), {})


def test_addresses_come_from_the_block() -> None:
    host = HostFile(mesh="shop", file="mesh.yaml", pid=1, block=2, gateway_ports={"web": 9000})
    assert host.xds == "127.66.255.1:15010"
    assert gateway_url(load(MESH, "mesh.yaml").mesh, host.gateway_ports) == "http://127.0.0.1:9000/"
