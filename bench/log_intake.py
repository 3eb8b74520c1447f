"""How many log records a second telemetry takes in without losing one, beside Loki's own OTLP intake.

Records are those of a failed request, as an Envoy writes them, in batches of 100: what went well telemetry leaves out
above 5,000 a second, which is no loss but no figure either.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import go_tools
import grpc
import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from bench.program import Program, running
from bench.report import Figure
from legation.mesh.logged import LETTERS
from legation.runtime.tasks import pause
from telemetry.logs.receiver import SERVICE
from tests.support.loki import loki

BATCH, SECONDS, FIRST, ROUNDS = 100, 3.0, 1000, 2
PATIENCE = 5.0
"""Seconds after the last batch in which all has to be there."""

Send = Callable[[bytes], Coroutine[Any, Any, bool]]
Arrived = Callable[[], Awaitable[int]]
UNLIMITED = """
limits_config: {ingestion_rate_mb: 1000, ingestion_burst_size_mb: 1000, per_stream_rate_limit: 1GB,
  per_stream_rate_limit_burst: 1GB}
"""


def batch(number: int) -> bytes:
    """Return records of failed requests, as one instance's Envoy sends them."""
    said = {
        "method": "GET", "authority": "orders:8080", "protocol": "HTTP/1.1",
        "status": "503", "flags": "UF", "details": "upstream_reset_before_response_started{connection_failure}",
        "bytes_received": "0", "bytes_sent": "91", "duration_ms": "12", "attempts": "4", "cluster": "orders_v1",
        "upstream": "127.64.9.1:15006", "upstream_instance": "orders-v1-0", "route": "orders/1",
        "direction": "outbound",
        "request_id": "1b4e28ba-2fa1-41d2-883f-0016d3cca427", "peer": "spiffe://shop.local/web", "version": "v1",
        "client": "127.0.0.1:41234",
    }  # fmt: skip
    request = ExportLogsServiceRequest()
    sent = request.resource_logs.add()
    sent.resource.attributes.extend(_pairs({"node_name": "web-v1-0", "cluster_name": "web", "service.name": "web"}))
    scope = sent.instrumentation_library_logs.add()
    for one in range(BATCH):
        lines = {**said, "path": f"/orders/{number * BATCH + one}"}.items()
        body = AnyValue(string_value="\n".join(f"{LETTERS[name]}={value}" for name, value in lines))
        scope.logs.add(time_unix_nano=time.time_ns(), body=body)
    return bytes(request.SerializeToString())


def _pairs(said: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in said.items()]


async def figure() -> Figure:
    """Return the figure; without Go 1.26 there is no peer."""
    ours: list[float] = []
    peer: list[float] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(ROUNDS):
            async with telemetry(folder / f"ours{number}") as (send, arrived):
                ours.append(await most(send, arrived))
            try:
                go_tools.build("loki")
            except go_tools.CannotBuild as error:
                print(error, file=sys.stderr)
                continue
            async with team(folder / f"peer{number}") as (send, arrived):
                peer.append(await most(send, arrived))
    return Figure(
        "telemetry", "log-records", "1/s", ours, peer, None, f"of some {len(batch(0)) // BATCH} bytes, no loss"
    )


async def most(send: Send, arrived: Arrived) -> float:
    """Return the highest rate that is taken without loss: doubled until one is not, and then halved in between."""
    good, bad, rate = 0.0, 0.0, float(FIRST)
    while not bad or bad / good > 1.25:
        if await holds(send, arrived, rate):
            good = rate
        else:
            bad = rate
        if bad and not good:
            return 0
        rate = (good + bad) / 2 if bad else good * 2
    return good


async def holds(send: Send, arrived: Arrived, rate: float) -> bool:
    """Send at a rate for a while; say whether the pace could be kept, and all of it arrived."""
    before, total = await arrived(), round(rate * SECONDS / BATCH)
    batches = [batch(number) for number in range(min(total, 100))]
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(total):
            late = time.monotonic() - begun - number * BATCH / rate
            if late < 0:
                await pause(-late)
            elif late > PATIENCE / 2:
                return False
            group.create_task(send(batches[number % len(batches)]), name="batch")
    deadline = time.monotonic() + PATIENCE
    while (came := await arrived() - before) < total * BATCH and time.monotonic() < deadline:
        await pause(0.1)
    return came >= total * BATCH


@asynccontextmanager
async def telemetry(folder: Path) -> AsyncIterator[tuple[Send, Arrived]]:
    """Run telemetry's log; what it has dropped has not arrived."""
    (folder / "instances").mkdir(parents=True)
    async with AsyncExitStack() as stack:
        command = [sys.executable, "-m", "bench.log_server", str(folder)]
        program: Program = await stack.enter_async_context(running(command, folder / "log"))
        await program.hear("ready", 30)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{folder / 'logs.sock'}"))
        export: Any = channel.unary_unary(f"/{SERVICE}/Export")

        async def send(data: bytes) -> bool:
            await export(data)
            return True

        async def arrived() -> int:
            await program.say("count")
            return int((await program.hear("counted", 30)).split()[0])

        yield send, arrived


@asynccontextmanager
async def team(folder: Path) -> AsyncIterator[tuple[Send, Arrived]]:
    """Run Loki; what it answers with anything but 2xx, or not in time, has not arrived."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    with loki(folder, UNLIMITED) as server:
        count = 0
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

            async def send(data: bytes) -> bool:
                nonlocal count
                try:
                    answer = await client.post(
                        server.otlp, content=data, headers={"content-type": "application/x-protobuf"}
                    )
                except httpx.HTTPError:
                    return False
                count += BATCH if answer.is_success else 0
                return answer.is_success

            async def arrived() -> int:
                return count

            yield send, arrived
