"""Envoys that know less than ours: what they lack is left out for them, and nothing else."""

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import Parse

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.runtime.tasks import Latest
from tests.support.envoys import VERSIONS, envoy
from tests.xds_server.compile.fleet import wait_for
from tests.xds_server.compile.stolen import World
from tests.xds_server.compile.test_passthrough import own_address
from tests.xds_server.compile.test_passthrough_names import DENIED, WAYS, ask, serving
from tests.xds_server.compile.test_passthrough_names import running as passing
from tests.xds_server.serve.envoy import running
from tests.xds_server.serve.world import Consumer, seen
from xds_server import snapshot as kinds
from xds_server.compile import BootstrapInput, Compiler
from xds_server.compile.health_check import specifier
from xds_server.compile.older import PARTS, lacking, losses
from xds_server.compile.partial import certificates_alone, telemetry_alone
from xds_server.prove.capabilities import capabilities
from xds_server.prove.envoy import NoVerdict
from xds_server.serve.server import serve
from xds_server.snapshot import Snapshot

MESH = """
mesh: older
trust_domain: older.local
mtls: permissive
passthrough: true
tracing: {otlp: {host: 127.0.0.1}}
services:
  web: {protocol: http, port: 80, calls: [orders, ledger], expose: {port: 8080}}
  orders: {protocol: http, port: 80}
  ledger: {protocol: tcp, port: 5432}
"""
EVERYTHING = tuple(part.name for part in PARTS)
FULL = frozenset(part.extension for part in PARTS)


@pytest.mark.parametrize(
    ("version", "extensions", "expected"),
    [
        (None, frozenset(), ("access_once", "lines_module")),
        ((1, 40), FULL, ()),
        ((1, 41), FULL, ("lines_module",)),
        ((1, 38), FULL, ("plaintext_count", "otlp_log", "access_once", "lines_module", "each_address")),
        ((1, 36), FULL, tuple(name for name in EVERYTHING if name != "http1_lines")),
        ((1, 40), FULL - {"envoy.wasm.runtime.v8"}, ("http1_lines",)),
        ((1, 40), FULL - {"envoy.access_loggers.stats"}, ("plaintext_count",)),
        ((1, 36), frozenset({"x"}), EVERYTHING),
    ],
)
def test_what_a_proxy_lacks_is_known_by_what_it_says(version, extensions, expected):
    assert expected == lacking(version, extensions)


def test_every_part_that_is_left_out_is_said_in_a_sentence():
    assert losses(()) == ()
    assert len(losses(EVERYTHING)) == len(EVERYTHING)


def node(service: str, lacks: tuple[str, ...] = ()) -> InstanceSpec:
    port = 0 if service == names.GATEWAY else 20000
    return InstanceSpec(f"{service}-1", service, "v1", "1", "127.0.0.1", app_port=port, lacks=lacks)


@pytest.mark.parametrize("service", ["web", "ledger", names.GATEWAY])
def test_nothing_else_is_left_out(service):
    """Each part by itself is what its absence takes away; without a lack the bytes are the same."""
    compiler = Compiler(load(MESH, "mesh.yaml"))

    def listeners(*lacks: str) -> dict[str, Listener]:
        found = compiler.snapshot(node(service, lacks), {}).of_type(kinds.LISTENER)
        return {name: Listener.FromString(b"".join(resource.parts)) for name, resource in found.items()}

    whole = {name: str(listener) for name, listener in listeners().items()}
    for part, *signs in (
        ("http1_lines", "http1_lines"),
        ("plaintext_count", "access_loggers.stats"),
        ("span_tags", "legation.peer", "legation.route"),
        ("otlp_log", "open_telemetry.v3.OpenTelemetryAccessLogConfig"),
        ("access_once", "legation.callers", "legation.allowed", "legation.calls"),
        ("each_address", "upstream_rbac"),
    ):
        for name, listener in listeners(part).items():
            text = str(listener)
            assert not any(sign in text for sign in signs)
            assert (text == whole[name]) == (not any(sign in whole[name] for sign in signs))
            assert text.count("envoy.filters.network.") >= len(listener.filter_chains)


@pytest.mark.parametrize("service", ["web", names.GATEWAY])
def test_calls_of_grpc_are_counted_by_envoys_own_filter_where_no_logger_can(service):
    """Under its own names: `telemetry.rules.edges.grpc_statuses` knows both."""
    mesh = MESH.replace(
        "orders: {protocol: http, port: 80}", "orders: {protocol: grpc, port: 80, expose: {port: 8081}}"
    )
    compiler = Compiler(load(mesh, "mesh.yaml"))

    def counting(*lacks: str) -> dict[str, tuple[bool, bool]]:
        found = compiler.snapshot(node(service, lacks), {}).of_type(kinds.LISTENER)
        texts = {name: str(Listener.FromString(b"".join(resource.parts))) for name, resource in found.items()}
        return {name: ("envoy.grpc_status" in text, "filters.http.grpc_stats" in text) for name, text in texts.items()}

    by_logger = {name for name, (logger, _) in counting().items() if logger}
    assert len(by_logger) == 1
    assert {name: (name in by_logger, False) for name in counting()} == counting()
    assert {name: (False, name in by_logger) for name in counting()} == counting("plaintext_count")


@pytest.mark.parametrize(("lacks", "asked"), [((), "grpc_health_check"), (("grpc_checks",), "tcp_health_check")])
def test_an_app_of_grpc_is_asked_what_its_proxy_can_ask(lacks, asked):
    mesh = load(
        MESH.replace("orders: {protocol: http,", "orders: {health_check: {}, protocol: grpc,"), "mesh.yaml"
    ).mesh
    [checks] = specifier(node("orders", lacks), mesh.services["orders"]).cluster_health_checks
    assert [check.WhichOneof("health_checker") for check in checks.health_checks] == [asked]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_envoy_takes_what_is_made_for_it(version, tmp_path):
    """Its own word on a part decides: this 1.38.3 was built without WebAssembly, the older 1.36.4 with it."""
    program = envoy(version)
    found = asyncio.run(capabilities(program))
    assert found.version == version
    assert (
        found.lacks
        == {
            "1.36.4": tuple(name for name in EVERYTHING if name != "http1_lines"),
            "1.38.3": ("http1_lines", "plaintext_count", "otlp_log", "access_once", "lines_module", "each_address"),
            "1.40.0": (),
        }[version]
    )
    given = BootstrapInput(
        replace(node("orders", found.lacks), metrics_port=15090), "older.local", "127.0.0.1", 1, "/s", "/a"
    )
    for number, text in enumerate((certificates_alone(given, load(MESH, "m")), telemetry_alone(given))):
        file = tmp_path / f"{number}.json"
        file.write_text(text)
        command = [program, "--mode", "validate", "-c", file, "-l", "error"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_an_older_envoy_denies_a_revoked_peer_as_well(tmp_path, version):
    lacks = asyncio.run(capabilities(envoy(version))).lacks
    older = World(tmp_path, envoy(version), lacks)
    try:
        with older.fleet.running():
            assert [older.ask(shown) for shown in (older.stolen, older.fresh)] == [403, 200]
    finally:
        older.app.stop()


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_an_older_envoy_leads_anywhere_and_looks_at_the_first_address(tmp_path, version):
    with serving(own_address()) as outside, serving("127.0.0.1") as inside, passing(tmp_path, version) as older:
        for way in WAYS:
            assert ask(older, way, "one.test", outside.server_port) == 200
            assert ask(older, way, "half-dead.test", outside.server_port) == 200
            assert ask(older, way, "first-inside.test", inside.server_port) == 403
        wait_for(lambda: older.stat("web-v1", DENIED) == len(WAYS))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_envoy_says_of_itself_is_what_it_can(version, tmp_path):
    """Over xDS it lists its extensions: by their names what it lacks is known as by trying it."""

    async def main():
        consumer, program = Consumer(Latest(Snapshot.of(()))), envoy(version)
        async with (
            serve(consumer, address=tmp_path / "xds.sock", grace=0.2),
            running(tmp_path, program=program),
        ):
            await seen(lambda: bool(consumer.infos), 30)
        (said, *_) = consumer.infos
        assert set(lacking(said.version, said.extensions)) == set((await capabilities(program)).lacks)

    asyncio.run(main())


def test_a_part_is_all_that_there_is():
    """Certificates alone: nothing over xDS, no xds_server; telemetry alone: no certificates either."""
    given = BootstrapInput(replace(node("ledger"), metrics_port=15090), "older.local", "127.0.0.1", 1, "/s", "/a")
    certificates = Parse(certificates_alone(given, load(MESH, "m")), Bootstrap())
    telemetry = Parse(telemetry_alone(given), Bootstrap())
    for found in (certificates, telemetry):
        assert not found.HasField("dynamic_resources")
        assert not found.HasField("hds_config")
        assert found.stats_config.stats_matcher.inclusion_list.patterns
    assert [c.name for c in certificates.static_resources.clusters] == ["sds", "admin", "local_app"]
    assert [c.name for c in telemetry.static_resources.clusters] == ["admin"]
    assert [one.name for one in certificates.static_resources.listeners] == ["metrics", "inbound"]


def test_what_is_no_envoy_is_said(tmp_path):
    for program, said in ((tmp_path / "none", "does not say its version"), (shutil.which("true"), "is no Envoy")):
        with pytest.raises(NoVerdict, match=said):
            asyncio.run(capabilities(Path(str(program))))
