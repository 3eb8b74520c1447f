"""Where a node's access log goes: it has the one logger that it says it has a use for, and asks nothing first."""

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from tests.xds_server.compile.rendition import as_dict
from xds_server import snapshot as kinds
from xds_server.compile import Compiler
from xds_server.prove.affected import made_up

MESH = """
mesh: logs
trust_domain: logs.local
services:
  web: {protocol: http, port: 80, calls: [orders, ledger], expose: {port: 8080}}
  orders: {protocol: http, port: 80}
  ledger: {protocol: tcp, port: 5432}
"""
STDOUT, OTLP = "access_loggers.stream.v3.StdoutAccessLog", "open_telemetry.v3.OpenTelemetryAccessLogConfig"
KINDS = (names.GATEWAY, "web", "ledger")


def node(service: str, **said: Any) -> InstanceSpec:
    return replace(made_up(service), **said)


@pytest.fixture(scope="module")
def listeners():
    compiler = Compiler(load(MESH, "mesh.yaml"))

    def made(service: str, **said: Any) -> dict[str, str]:
        found = compiler.snapshot(node(service, **said), {}).of_type(kinds.LISTENER)
        return {name: str(as_dict(Listener.FromString(b"".join(one.parts)))) for name, one in found.items()}

    return made


def filters(text: str) -> int:
    """How many kinds of requests each logger asks for, but for what the runtime says."""
    return text.count("not_health_check_filter") + text.count("or_filter")


@pytest.mark.parametrize("service", KINDS)
def test_a_node_has_the_logger_that_it_has_a_use_for(listeners, service):
    """In one compiler, as instances of a service may differ: some are in containers, some on a host with telemetry."""
    for name, had in listeners(service).items():
        for log, kept, gone in (("otlp", OTLP, STDOUT), ("stdout", STDOUT, OTLP)):
            text = listeners(service, log=log)[name]
            assert kept in text
            assert gone not in text
            assert "runtime_filter" not in text
            assert (had.count(kept), filters(had)) == (text.count(kept), 2 * filters(text))
            for other in ("access_loggers.stats", "http1_lines"):
                assert had.count(other) == text.count(other)


@pytest.mark.parametrize("service", KINDS)
def test_a_node_of_before_has_both_and_its_runtime_decides(listeners, service):
    for text in listeners(service).values():
        assert text.count("runtime_filter") == text.count(STDOUT) + text.count(OTLP) > 0


def test_what_an_older_envoy_cannot_send_goes_to_stdout(listeners):
    lacking = listeners("web", log="otlp", lacks=("otlp_log",))
    assert lacking == listeners("web", log="stdout", lacks=("otlp_log",))
    assert all(STDOUT in one and "runtime_filter" not in one for one in lacking.values())


BY_METADATA, BY_ENVIRONMENT = "%METADATA(LISTENER:legation:", "%ENVIRONMENT(LEGATION_"


@pytest.mark.parametrize("service", KINDS)
@pytest.mark.parametrize(("log", "values"), [("otlp", 1), ("stdout", 2)])
def test_who_writes_is_said_by_the_environment_where_that_says_it(listeners, service, log, values):
    """OTLP has the instance in its resource. An Envoy that its team runs is told nothing, nor is one of before."""
    told, untold = listeners(service, log=log, in_environment=True), listeners(service, log=log)
    for name, text in told.items():
        assert (text.count(BY_ENVIRONMENT), text.count(f"{BY_METADATA}service")) == (values, text.count(BY_METADATA))
        assert (untold[name].count(BY_METADATA), BY_ENVIRONMENT in untold[name]) == (values, False)


def test_a_node_of_before_is_told_by_its_metadata(listeners):
    assert not any(BY_ENVIRONMENT in text for text in listeners("web", in_environment=True).values())
