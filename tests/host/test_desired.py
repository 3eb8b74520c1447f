"""Which instances a mesh desires here, what they are called and which slots they get."""

import pytest

from legation.host.desired import GATEWAYS, free_slot, gateway_ports, instance_id, replica_sets
from legation.host.layout import HostFile, gateway_url
from legation.mesh.desired import DesiredMesh, Exposed, ReplicaSet, WorkloadSpec
from legation.mesh.load import load
from legation.mesh.summarize import summarize

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
WEB = WorkloadSpec("web", "v1", ("node", "web.js"))
ORDERS = WorkloadSpec("orders", "v2", ("node", "orders.js"), (("A", "1"), ("B", "2")))
GATEWAY = WorkloadSpec("legation-gateway", "v1")


def summary(text: str = MESH) -> DesiredMesh:
    return summarize(load(text, "mesh.yaml"))


def test_a_mesh_file_desires_its_workloads_and_gateways_that_share_the_port() -> None:
    assert summary().exposed == (Exposed("web", "127.0.0.1", 8080),)
    assert replica_sets(summary(), {}) == (ReplicaSet(GATEWAY, GATEWAYS), ReplicaSet(WEB, 1), ReplicaSet(ORDERS, 2))
    assert GATEWAYS > 1, "when one dies, somebody listens"


def test_without_an_exposed_service_there_is_no_gateway() -> None:
    alone = summary(MESH.replace(", expose: {port: 8080}", ""))
    assert [s.spec.service for s in replica_sets(alone, {})] == ["web", "orders"]
    assert gateway_url(alone.exposed, {}) is None


def test_a_chosen_port_stays_and_others_follow_the_file() -> None:
    exposed = (Exposed("web", "127.0.0.1", 8080), Exposed("api", "0.0.0.0", 8081))
    assert gateway_ports(exposed, {"web": 9000}) == {"web": 9000, "api": 8081}
    assert replica_sets(summary(), {"web": 9000})[0].spec.ports == (("web", 9000),)
    assert gateway_url(exposed[1:], {}) == "http://127.0.0.1:8081/"


def test_ids_are_the_first_that_are_free() -> None:
    assert instance_id(ORDERS, []) == "orders-v2-0"
    assert instance_id(ORDERS, ["orders-v2-0", "orders-v2-2", "web-v1-1"]) == "orders-v2-1"
    assert instance_id(GATEWAY, ["legation-gateway-0"]) == "legation-gateway-1"


def test_a_slot_is_not_used_again_at_once() -> None:
    assert free_slot([], -1) == 0
    assert free_slot([0, 1], 2) == 3
    assert free_slot([0, 254], 253) == 1
    with pytest.raises(ValueError, match="255 instances run here; a host takes 255"):
        free_slot(range(255), 0)


def test_addresses_come_from_the_block() -> None:
    host = HostFile(mesh="shop", file="mesh.yaml", pid=1, block=2, gateway_ports={"web": 9000})
    assert host.xds == "127.66.255.1:15010"
    assert gateway_url(summary().exposed, host.gateway_ports) == "http://127.0.0.1:9000/"
