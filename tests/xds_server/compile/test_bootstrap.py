"""What an Envoy starts with."""

import json
from dataclasses import replace

import pytest

from legation.mesh.instance import InstanceSpec
from xds_server.compile import BootstrapInput, bootstrap

NODE = InstanceSpec(
    "orders-v1-0", "orders", "v1", "7", "127.64.0.1", 15006, "127.0.0.1", 20000, 15090, "z", {"payments": 15101}
)
GIVEN = BootstrapInput(NODE, "shop.local", "127.64.255.1", 15010, "/run/sds.sock", "/run/admin.sock")


def made(given: BootstrapInput) -> dict:
    return json.loads(bootstrap(given))


def test_the_node_says_all_of_itself():
    node = made(GIVEN)["node"]
    said = {k: v for k, v in node["metadata"].items() if k != "outbound_ports"}
    assert (node["id"], node["cluster"]) == ("orders-v1-0", "orders")
    assert said == {
        "service": "orders", "version": "v1", "boot": "7", "address": "127.64.0.1", "port": 15006,
        "app_address": "127.0.0.1", "app_port": 20000, "metrics_port": 15090, "zone": "z", "log": "stdout",
    }  # fmt: skip
    assert node["metadata"]["outbound_ports"] == {"payments": 15101}


def test_admin_is_a_socket_for_its_owner_alone():
    admin = made(GIVEN)["admin"]["address"]
    assert admin == {"pipe": {"path": "/run/admin.sock", "mode": 0o600}}


@pytest.mark.parametrize(
    ("host", "kind"), [("127.64.255.1", "STATIC"), ("::1", "STATIC"), ("xds.example", "STRICT_DNS")]
)
def test_xds_server_is_found_by_address_or_by_name(host, kind):
    clusters = made(replace(GIVEN, xds_host=host))["static_resources"]["clusters"]
    assert next(c for c in clusters if c["name"] == "xds")["type"] == kind


def test_every_stream_to_xds_server_is_back_within_two_seconds():
    file = made(GIVEN)
    for api in (file["dynamic_resources"]["ads_config"], file["hds_config"]):
        (service,) = api["grpc_services"]
        back_off = service["envoy_grpc"]["retry_policy"]["retry_back_off"]
        assert back_off == {"base_interval": "0.200s", "max_interval": "2s"}
