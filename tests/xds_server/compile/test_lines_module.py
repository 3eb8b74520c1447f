"""Which proxies load native code to watch the lines of HTTP/1, and which run the same as WebAssembly."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.sidecar.modules import lines_module
from tests.xds_server.compile.fleet import Fleet
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.prove.affected import made_up

MESH = """
mesh: lines
trust_domain: lines.local
services:
  web: {protocol: http, port: 80, calls: [orders, ledger], expose: {port: 18080}}
  orders: {protocol: http, port: 80}
  ledger: {protocol: tcp, port: 5432}
"""
PATH = "/opt/legation/http1_lines-x86_64.so"


def node(service: str, path: str = PATH, **more: Any) -> InstanceSpec:
    return replace(made_up(service), lines_module=path, **more)


def loaded(compiler: Compiler, asked: InstanceSpec) -> dict[str, tuple[int, int]]:
    """Of each listener how often its module and how often WebAssembly stands before a connection manager."""
    found = compiler.snapshot(asked, {}).of_type(kinds.LISTENER)
    signs = (asked.lines_module or "no module").encode(), b"envoy.wasm.runtime"
    bodies = {name: b"".join(resource.parts) for name, resource in found.items()}
    return {name: (body.count(signs[0]), body.count(signs[1])) for name, body in bodies.items()}


@pytest.mark.parametrize("service", ["web", "orders", names.GATEWAY])
@pytest.mark.parametrize("log", ["", "stdout", "otlp"])
def test_a_module_stands_wherever_webassembly_would(service, log):
    compiler = Compiler(load(MESH, "mesh.yaml"))
    there, without = (loaded(compiler, node(service, path, log=log)) for path in (PATH, ""))
    assert sum(number for _, number in without.values()) > 0
    assert there == {name: (number, 0) for name, (_, number) in without.items()}


@pytest.mark.parametrize(
    ("mesh", "more"),
    [
        pytest.param(MESH + "dynamic_modules: false\n", {}, id="mesh.yaml forbids it"),
        pytest.param(MESH, {"lacks": ("lines_module",)}, id="an Envoy of another version"),
        pytest.param(MESH, {"path": ""}, id="a host that has none"),
    ],
)
@pytest.mark.parametrize("service", ["web", names.GATEWAY])
def test_a_mesh_may_do_without_native_code(service, mesh, more):
    without = loaded(Compiler(load(mesh, "mesh.yaml")), node(service, **more))
    assert {modules for modules, _ in without.values()} == {0}
    assert sum(number for _, number in without.values()) > 0


def has(compiler: Compiler, service: str, path: str) -> bool:
    return any(modules for modules, _ in loaded(compiler, node(service, path)).values())


def test_few_paths_of_a_service_are_kept_and_the_others_do_without():
    compiler = Compiler(load(MESH, "mesh.yaml"))
    paths = [f"/opt/{number}.so" for number in range(6)]
    assert [any(n for n, _ in loaded(compiler, node("web", path)).values()) for path in paths] == [True] * 4 + [
        False
    ] * 2
    assert has(compiler, "orders", paths[-1])
    assert has(compiler, "web", paths[0])


def test_a_change_of_the_mesh_makes_room_for_no_more_of_them():
    before, after = (Compiler(load(MESH, "mesh.yaml")) for _ in range(2))
    paths = [f"/opt/{number}.so" for number in range(5)]
    assert [has(before, "web", path) for path in paths] == [True] * 4 + [False]
    after.inherit(before, ["web", "orders", "ledger"])
    assert [has(after, "web", path) for path in reversed(paths)] == [False] + [True] * 4


def test_a_change_of_mind_is_a_change_of_every_listener_with_http():
    before = Compiler(load(MESH, "mesh.yaml"))
    first = before.snapshot(node("web"), {}).of_type(kinds.LISTENER)
    after = Compiler(load(MESH + "dynamic_modules: false\n", "mesh.yaml"))
    after.inherit(before, ["web", "orders", "ledger"])
    second = after.snapshot(node("web"), {}).of_type(kinds.LISTENER)
    assert {name for name in first if first[name].version != second[name].version} == set(first) - {"outbound/ledger"}


@pytest.mark.skipif(not lines_module(), reason="no module was made for this kind of machine")
def test_a_proxy_loads_what_its_host_has_for_it(tmp_path):
    """It would refuse a listener whose module it cannot load, and warns of one that is for another version of it."""
    fleet = Fleet(MESH, tmp_path)
    fleet.add("orders")
    with fleet.running():
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=fleet.admin("orders-v1")), base_url="http://envoy"
        ) as admin:
            there, configured = admin.get("/listeners").text, admin.get("/config_dump").text
        assert "inbound::" in there
        assert (lines_module() in configured, "vm_config" in configured) == (True, False)
        assert "odule" not in fleet.log("orders-v1")
