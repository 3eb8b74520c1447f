"""Rules that hold: what is allowed though it looks odd, and check() on a mesh that was put together by hand."""

import pytest

from legation.mesh.checks import check
from legation.mesh.load import load
from legation.mesh.model.mesh import Mesh
from legation.mesh.source import SourcedMesh

HEAD = "mesh: shop\ntrust_domain: shop.local\nservices:\n  a: {protocol: http, port: 80"

ALLOWED = {
    "calls in a circle": HEAD + ", calls: [b]}\n  b: {protocol: http, port: 80, calls: [a]}\n",
    "a split without workloads": HEAD + ", routes: [{split: {v7: 100}}]}\n",
    "a split of a service whose workloads run elsewhere": HEAD
    + ", routes: [{split: {v7: 100}}]}\n  b: {protocol: grpc, port: 1}\nworkloads: [{service: b, command: [x]}]\n",
    "no limit for a request whose tries have one": HEAD
    + ", routes: [{timeout: 0s, retry: {retry_on: [5xx], per_try_timeout: 20s}}]}\n",
    "a try as long as its request": HEAD
    + ", routes: [{timeout: 1s, retry: {retry_on: [5xx], per_try_timeout: 1s}}]}\n",
    "retries turned off": HEAD + ", routes: [{retry: {num_retries: 0}}]}\n",
    "every retry condition for grpc": (
        HEAD + ", routes: [{retry: {retry_on: [unavailable, cancelled, 5xx]}}]}\n"
    ).replace("http", "grpc"),
    "routes that differ in one header": HEAD
    + ', routes: [{match: {headers: {a: "1"}}}, {match: {headers: {a: "2"}}}, {}]}\n',
    "one port exposed on two addresses": HEAD
    + ", expose: {port: 80}}\n  b: {protocol: http, port: 80, expose: {port: 80, address: 127.0.0.2}}\n",
    "two ports exposed": HEAD + ", expose: {port: 80}}\n  b: {protocol: http, port: 80, expose: {port: 81}}\n",
    "maglev with its header": HEAD + ", load_balancing: {policy: maglev, hash_header: x-user}}\n",
    "the shortest life": HEAD + "}\ncertificates: {ttl: 1m}\n",
    "the longest life": HEAD + "}\ncertificates: {ttl: 24h}\n",
    "a prefix and everything": HEAD + ", calls: [{service: b, allow: [{paths: [/x/*, /*]}]}]}\n"
    "  b: {protocol: http, port: 80}\n",
    "as many instances as addresses": HEAD + "}\nworkloads:\n"
    "  - {service: a, instances: 100, command: [x]}\n"
    "  - {service: a, version: v2, instances: 100, command: [x]}\n"
    "  - {service: a, version: v3, instances: 54, command: [x]}\n",
    "a name that only begins like ours": HEAD.replace("  a:", "  legations:") + "}\n",
}


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_this_is_allowed(text):
    assert check(load(text, "mesh.yaml")) == ()


def test_a_mesh_put_together_by_hand_is_checked_too():
    mesh = Mesh.model_validate(
        {
            "mesh": "m",
            "trust_domain": "m.local",
            "services": {"a": {"protocol": "http", "port": 1, "calls": ["b", "a"]}},
        }
    )
    assert [str(violation) for violation in check(SourcedMesh(mesh, "mesh.yaml", "", {}))] == [
        "mesh.yaml:1:1: services.a.calls[0]: no service is called 'b', known here: a",
        "mesh.yaml:1:1: services.a.calls[1]: a service cannot call itself through the mesh",
    ]
