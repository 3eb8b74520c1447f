"""What a piece of our own work did, as steps; and as spans on the wire, to a receiver that takes them or does not."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from legation.mesh.model.tracing import Otlp, Tracing
from legation.runtime.spans import Spans
from legation.runtime.tasks import until
from legation.runtime.traces import Traces
from legation.runtime.trail import Step, Trail
from tests.xds_server.compile.test_external import certificate


def ticking(times: Iterator[float]):
    return lambda: next(times)


def change() -> Step:
    """A change whose third step fails."""
    trail = Trail("change mesh", ticking(iter([11.0, 12.0, 13.0, 13.5, 14.0, 15.0, 16.0])), start=10.0)
    trail.root.said["legation.file"] = 'mesh"\n.yaml'
    with trail.step("load"):
        pass
    with trail.step("prove"), pytest.raises(ValueError, match="no"), trail.step("ask"):
        raise ValueError("no")
    return trail.finish()


def test_steps_lie_inside_each_other_and_know_why_they_failed() -> None:
    root = change()
    assert (root.start, root.end) == (10.0, 16.0)
    assert [(s.name, s.start, s.end) for s in root.steps] == [("load", 11.0, 12.0), ("prove", 13.0, 15.0)]
    assert [(s.name, s.failure) for s in root.steps[1].steps] == [("ask", "no")]
    assert root.size() == 4


class Receiver:
    """A receiver of OTLP that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list = []

    def take(self, batch: bytes, _: object) -> bytes:
        for resource in ExportTraceServiceRequest.FromString(batch).resource_spans:
            for scope in resource.instrumentation_library_spans:
                self.spans += [(resource.resource, span) for span in scope.spans]
        return b""


@contextmanager
def receiving(tls: grpc.ServerCredentials | None = None) -> Iterator[tuple[Receiver, int]]:
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(receiver.take)
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
    port = server.add_insecure_port("127.0.0.1:0") if tls is None else server.add_secure_port("127.0.0.1:0", tls)
    server.start()
    try:
        yield receiver, port
    finally:
        server.stop(None)


def test_a_trail_is_one_trace_with_its_steps_times_and_failures() -> None:
    counted: dict[str, int] = {}
    with receiving() as (receiver, port):
        spans = Spans("legation-xds-server", "shop", Otlp(host="127.0.0.1", port=port), counted.__setitem__)
        spans.emit(change())
        spans.close()
    by_name = {span.name: span for _, span in receiver.spans}
    assert counted == {"sent": 4}
    assert len({span.trace_id for span in by_name.values()}) == 1
    root, ask = by_name["change mesh"], by_name["ask"]
    assert (root.parent_span_id, by_name["load"].parent_span_id) == (b"", root.span_id)
    assert ask.parent_span_id == by_name["prove"].span_id
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (10_000_000_000, 16_000_000_000)
    assert (ask.status.code, ask.status.message) == (2, "no")
    assert [(a.key, a.value.string_value) for a in root.attributes] == [("legation.file", 'mesh"\n.yaml')]
    (resource,) = {str(resource) for resource, _ in receiver.spans}
    assert "legation-xds-server" in resource
    assert "shop" in resource


@pytest.mark.parametrize("vouched", [True, False])
def test_over_tls_the_receiver_is_verified(tmp_path: Path, vouched: bool) -> None:
    made = certificate(tmp_path)
    tls = grpc.ssl_server_credentials([((tmp_path / "outside.key").read_bytes(), made.read_bytes())])
    counted: dict[str, int] = {}
    with receiving(tls) as (receiver, port):
        otlp = Otlp(host="localhost", port=port, tls=True, ca=str(made) if vouched else None)
        spans = Spans("legation-certmgr", "shop", otlp, counted.__setitem__)
        spans.emit(change())
        spans.close()
    assert (len(receiver.spans), counted) == ((4, {"sent": 4}) if vouched else (0, {"lost": 4}))
    with pytest.raises(FileNotFoundError):
        Spans("legation-certmgr", "shop", Otlp(host="localhost", tls=True, ca=str(tmp_path / "none")), lambda *_: None)


def test_a_receiver_that_hangs_costs_nothing_but_the_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever emits does not wait for it, nor does its end for longer than one batch may take."""
    counted: dict[str, int] = {"lost": 0}

    def count(outcome: str, number: int) -> None:
        counted[outcome] = counted.get(outcome, 0) + number

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        spans = Spans("legation-certmgr", "shop", Otlp(host="127.0.0.1", port=deaf.getsockname()[1]), count)
        monkeypatch.setattr("legation.runtime.spans._TIMEOUT", 3600)
        for _ in range(800):
            spans.emit(change())
        assert counted["lost"] >= 800 * 4 - 2048 - 512, "what does not fit is lost, and counted"
        monkeypatch.setattr("legation.runtime.spans._TIMEOUT", 0.5)
        spans.close()
    assert counted == {"lost": 800 * 4}


def test_nothing_is_loaded_before_somebody_traces_and_the_change_that_says_so_is_a_trace() -> None:
    made: list[str] = []

    class Kept:
        def emit(self, root: Step) -> None:
            made.append(root.name)

        def close(self) -> None:
            made.append("closed")

    async def work() -> None:
        traces = Traces("xds_server", CollectorRegistry(), lambda *_: Kept())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(traces.run())
            traces.emit(Step("before", 1.0))
            traces.want("shop", Tracing(otlp=Otlp(host="127.0.0.1")))
            traces.emit(Step("change mesh", 2.0))
            assert await until(lambda: _said("change mesh" in made), 20)
            traces.want("shop", None)
            assert await until(lambda: _said("closed" in made), 20)
            traces.emit(Step("after", 3.0))
            running.cancel()
        assert made == ["change mesh", "closed"]

    asyncio.run(work())
    loaded = "import sys, legation.runtime.traces, xds_server.service, certmgr.service, telemetry.service; "
    done = subprocess.run(
        [sys.executable, "-c", f"{loaded}print('opentelemetry.sdk' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


async def _said(value: bool) -> bool:
    return value
