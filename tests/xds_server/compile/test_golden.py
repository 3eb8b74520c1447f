"""All that compile writes, held against files, and proved by a stock Envoy."""

import json
import os
import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from envoy.service.health.v3.hds_pb2 import HealthCheckSpecifier
from ruamel.yaml import YAML

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.schema import schema
from legation.runtime import binaries
from legation.sidecar.modules import lines_module
from tests.mesh.test_features import field_paths
from tests.xds_server.compile.authority import Authority
from tests.xds_server.compile.rendition import as_dict, protos, static_file
from xds_server import snapshot as kinds
from xds_server.compile import BootstrapInput, Compiler, bootstrap
from xds_server.compile.http1_wasm import WASM
from xds_server.endpoint import Endpoint

GOLDEN = Path(__file__).parents[2] / "golden" / "compile"
RECORDED = {
    "hop": ("web", "orders", "payments", names.GATEWAY),
    "balance": ("web",),
    "resilience": ("web",),
    "routing": ("web", "items"),
    "access": ("web", "ledger", "banner"),
    "plain": ("hello",),
    "traced": ("web", "payments", names.GATEWAY),
    "edge": ("shop", "banner", names.GATEWAY),
    "finer": ("web", "asked", names.GATEWAY),
    "named": ("web", "orders", names.GATEWAY),
    "loaded": ("web", names.GATEWAY),
}
KINDS = {"clusters": kinds.CLUSTER, "endpoints": kinds.ENDPOINT, "listeners": kinds.LISTENER, "routes": kinds.ROUTE}


def compiled(case: str):
    """Return each node of a case with its bootstrap and its snapshot."""
    mesh = load((GOLDEN / case / "mesh.yaml").read_text(), "mesh.yaml")
    compiler = Compiler(mesh)
    services = list(mesh.mesh.services)
    endpoints = {s: _endpoints(s, 10 + n) for n, s in enumerate(services)}
    for n, service in enumerate([*services, names.GATEWAY]):
        node = InstanceSpec(
            id=names.instance_id(service, "v1", 0), service=service, version="v1", boot="1",
            address=f"127.64.{n}.1", port=names.INBOUND_PORT, app_port=20000 + n if n < len(services) else 0,
            metrics_port=names.METRICS_PORT, zone="here",
        )  # fmt: skip
        if case == "named":
            node = _container(node)
        if case == "loaded":
            node = replace(node, lines_module=lines_module())
        given = BootstrapInput(
            node, mesh.mesh.trust_domain, "127.64.255.1", names.XDS_PORT, "/run/mesh/sds.sock", "/run/mesh/admin.sock"
        )
        yield node, bootstrap(given), compiler, compiler.snapshot(node, endpoints)


def _container(node: InstanceSpec) -> InstanceSpec:
    """The same node as a container beside its app's."""
    node = replace(node, by_name=True, loopback="127.67.0.1", plain_addresses=("127.65.0.1", "127.66.0.1"))
    node = replace(node, metrics_address=node.address)
    return node if node.service == names.GATEWAY else replace(node, app_address=node.service, app_port=8080)


def _endpoints(service: str, slot: int) -> tuple[Endpoint, ...]:
    versions = (("v1", True), ("v1", False), ("v2", False))
    return tuple(
        Endpoint(f"{service}-{version}-{i}", version, f"127.64.{slot}.{i + 1}", names.INBOUND_PORT, healthy, "here")
        for i, (version, healthy) in enumerate(versions)
    )


def _yaml(value: object) -> str:
    """Return YAML; the filter that is the same everywhere is cut short, and so is where it is loaded from."""
    text = StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.width = 200
    yaml.dump(json.loads(_cut(json.dumps(value))), text)
    return text.getvalue()


def _cut(text: str) -> str:
    return text.replace(b64encode(WASM).decode(), "…").replace(lines_module(), "….so")


@pytest.mark.parametrize("case", RECORDED)
def test_what_each_node_gets_is_as_recorded(case, golden):
    files = {}
    for node, text, compiler, snapshot in compiled(case):
        if node.service not in RECORDED[case]:
            continue
        files[f"{node.service}/bootstrap.json"] = _cut(text)
        files[f"{node.service}/health.yaml"] = _health(compiler.health_specifier(node))
        for name, kind in KINDS.items():
            resources = snapshot.of_type(kind)
            files[f"{node.service}/{name}.yaml"] = _yaml(
                [{"from": str(resources[r].source), "resource": as_dict(p)} for r, p in protos(snapshot, kind).items()]
            )
    golden(f"compile/{case}/nodes", files)


def _health(body: bytes) -> str:
    return _yaml(as_dict(HealthCheckSpecifier.FromString(body)))


ELSEWHERE = re.compile(
    r"(certificates\.dev|logging|metrics|prometheus|workloads|services\.<name>\.(slo|autoscale|telemetry_only))\b.*"
)
"""Fields that are not compiled for Envoys, or tell none of them anything but by its bootstrap."""


def test_every_field_that_is_compiled_is_in_some_file():
    meshes = [YAML(typ="safe").load(GOLDEN / case / "mesh.yaml") for case in RECORDED]
    said = {path for mesh in meshes for path in _paths(mesh, ())}
    expected = [path for path in field_paths(schema(), "") if not ELSEWHERE.fullmatch(path)]
    assert [path for path in expected if not any(_is(path, found) for found in said)] == []


def _paths(value: object, here: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield here
    inner = value.items() if isinstance(value, dict) else (("[]", v) for v in value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from _paths(below, (*here, key))


def _is(path: str, found: tuple[str, ...]) -> bool:
    """Say whether a field of the schema is what stands at a place of a file."""
    parts = path.replace("[]", ".[]").split(".")
    return len(parts) == len(found) and all(p in ("<name>", f) for p, f in zip(parts, found, strict=True))


@pytest.mark.parametrize("case", RECORDED)
def test_a_stock_envoy_accepts_what_each_node_gets(case, tmp_path):
    secrets = Authority("test").issue("spiffe://test/any", tmp_path)
    for service in load((GOLDEN / case / "mesh.yaml").read_text(), "mesh.yaml").mesh.exposed():
        Authority("test").site(["shop.test"], tmp_path, names.edge_secret(service))
    for node, text, _, snapshot in compiled(case):
        validate(tmp_path / f"{node.id}-bootstrap.json", text)
        validate(tmp_path / f"{node.id}.json", static_file(text, snapshot, secrets))


def validate(file: Path, text: str) -> None:
    file.write_text(text)
    done = subprocess.run(
        [binaries.envoy(), "--mode", "validate", "-c", file, "-l", "warning"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OTEL_RESOURCE_ATTRIBUTES": "service.version=v1"},  # as a sidecar's has
    )
    # it would fetch the keys of tokens, which it can only when it runs; of the log see xds_server.compile.access_log
    expected = "jwks", "OpenTelemetryAccessLogConfig.common_config"
    said = [line for line in done.stderr.splitlines() if not any(word in line for word in expected)]
    assert (done.returncode, said) == (0, []), json.dumps(json.loads(text), indent=1)[:2000]


@pytest.mark.parametrize("case", RECORDED)
def test_two_compilers_write_the_same_bytes(case):
    first, second = ([s for *_, s in compiled(case)] for _ in range(2))
    assert first == second
