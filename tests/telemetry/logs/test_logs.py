"""The log of a host as a whole: what mesh.yaml says of it, what it does when it cannot keep up, apps' lines."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from prometheus_client import CollectorRegistry

from legation.mesh.load import load
from legation.runtime.tasks import until
from telemetry.logs import keeper
from telemetry.logs.logs import Logs
from telemetry.logs.metrics import LogMetrics
from telemetry.logs.query import parse

LIMIT = 20.0
MESH = "mesh: shop\ntrust_domain: shop.local\nservices:\n  web: {protocol: http, port: 80}\n"


def batch(*requests: Mapping[str, str], at: float | None = None) -> bytes:
    """Return records as an Envoy sends them."""
    request = ExportLogsServiceRequest()
    sent = request.resource_logs.add()
    sent.resource.attributes.extend(_pairs({"node_name": "web-v1-0", "cluster_name": "web"}))
    scope = sent.instrumentation_library_logs.add()
    for said in requests:
        scope.logs.add(time_unix_nano=int((at or time.time()) * 1e9), body=AnyValue(string_value=_lines(said)))
    return bytes(request.SerializeToString())


def _pairs(said: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in said.items()]


def _lines(said: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={value}" for name, value in said.items())


class Host:
    def __init__(self, logs: Logs, registry: CollectorRegistry, instances: Path) -> None:
        self.logs, self.registry, self.instances = logs, registry, instances

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def texts(self, **words: str) -> list[str]:
        return [record.text for record in (await self.logs.search(parse({"limit": "10000", **words}))).records]

    async def has(self, wanted: list[str], **words: str) -> bool:
        async def found() -> bool:
            return await self.texts(**words) == wanted

        return await until(found, LIMIT)


@asynccontextmanager
async def host(folder: Path, syslog: str = "") -> AsyncIterator[Host]:
    registry, instances = CollectorRegistry(), folder / "instances"
    instances.mkdir(exist_ok=True)
    logs = Logs(folder / "store", instances, folder / "logs.sock", LogMetrics(registry), syslog)
    async with asyncio.TaskGroup() as group, logs.running(group):
        yield Host(logs, registry, instances)


def test_a_mesh_says_how_much_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "_PRUNE_EVERY", 0.0)

    async def main() -> None:
        async with host(tmp_path) as here:
            here.logs.use(load(MESH + "logging: {max_megabytes: 1, max_age: 1h, sampling: 100}\n", "mesh.yaml").mesh)
            here.logs.offer(batch({"method": "GET", "path": "/old"}, at=time.time() - 7200))
            for number in range(40):
                here.logs.offer(batch(*[{"method": "GET", "path": f"/{number}" + "x" * 900}] * 50))

            async def bounded() -> bool:
                kept = await here.texts()
                newest, oldest = any(t.startswith("GET /39x") for t in kept), "GET /old" in kept
                return newest and not oldest and len(kept) < 1000

            assert await until(bounded, LIMIT)
            assert here.value("telemetry_log_store_bytes") < 3 << 20
            assert here.value("telemetry_log_records_total", kind="access") == 2001

    asyncio.run(main())


def test_what_apps_write_is_theirs_and_is_read_once_over_a_restart(tmp_path):
    async def main() -> None:
        async with host(tmp_path) as here:
            for name, known in (("web-v2-0", True), ("gone-v1-0", False)):
                folder = here.instances / name
                folder.mkdir()
                (folder / "app.log").write_bytes(b"hello\n")
                if known:
                    (folder / "run.json").write_text(
                        json.dumps({"spec": {"service": "web", "version": "v2", "id": name}})
                    )
            assert await here.has(["hello", "hello"])
            (found,) = (await here.logs.search(parse({"service": "web"}))).records
            assert (found.instance, found.version, found.kind) == ("web-v2-0", "v2", "app")
            assert await here.has(["hello"], instance="gone-v1-0")
        async with host(tmp_path) as here:
            with (here.instances / "web-v2-0" / "app.log").open("ab") as log:
                log.write(b"again\n")
            assert await here.has(["hello", "again"], instance="web-v2-0")

    asyncio.run(main())


def test_who_follows_is_woken_by_the_next_record(tmp_path):
    async def main() -> None:
        async with host(tmp_path) as here:
            here.logs.offer(batch({"method": "GET", "path": "/a"}))
            assert await here.has(["GET /a"])
            begun = time.monotonic()
            waiting = asyncio.ensure_future(here.logs.search(parse({"after": "1"}), wait=15))
            assert not (await asyncio.wait([waiting], timeout=0.3))[0]
            here.logs.offer(batch({"method": "GET", "path": "/b"}))
            assert [r.text for r in (await waiting).records] == ["GET /b"]
            assert time.monotonic() - begun < 10
            assert (await here.logs.search(parse({"after": "2"}), wait=0.1)).records == ()

    asyncio.run(main())


def test_what_cannot_be_kept_is_dropped_and_counted(tmp_path, monkeypatch):
    """Too much at once, no batch at all, more than the budget, and a disk that takes nothing."""

    async def main() -> None:
        async with host(tmp_path) as here:
            monkeypatch.setattr(keeper, "MOST_WAITING", 0)
            here.logs.offer(batch({"path": "/a"}, {"path": "/b"}))
            here.logs.offer(b"\xff")
            assert here.value("telemetry_log_records_dropped_total", reason="full") == 3
            monkeypatch.undo()
            here.logs.offer(b"\xff")

            async def counted() -> bool:
                return here.value("telemetry_log_records_dropped_total", reason="malformed") == 1

            assert await until(counted, LIMIT)
            good, bad = {"method": "GET", "status": "200"}, {"method": "GET", "status": "503", "flags": "UF"}
            here.logs.offer(batch(*[good] * 20_000, bad))

            async def shed() -> bool:
                return here.value("telemetry_log_records_dropped_total", reason="rate") > 10_000

            assert await until(shed, LIMIT)
            assert await here.has(["GET 503 UF"], code="503")

    asyncio.run(main())


def test_another_host_keeps_what_there_is_no_room_for_and_a_large_batch_finds_some(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "MOST_WAITING", 10)
    logs = Logs(tmp_path / "store", tmp_path, tmp_path / "logs.sock", LogMetrics(CollectorRegistry()))
    assert [logs.take_on(b"twenty bytes at least"), logs.take_on(b"one more")] == [True, False]


def test_a_disk_that_takes_nothing_loses_records_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "_PAUSE", 0.01)
    (tmp_path / "store").mkdir()
    blocked = tmp_path / "store" / "logs.sqlite"
    blocked.mkdir()

    async def main() -> None:
        async with host(tmp_path) as here:
            (here.instances / "web-v1-0").mkdir()
            (here.instances / "web-v1-0" / "app.log").write_bytes(b"kept\n")
            here.logs.offer(batch({"path": "/lost"}))

            async def lost() -> bool:
                return here.value("telemetry_log_records_dropped_total", reason="disk") == 1

            assert await until(lost, LIMIT)
            blocked.rmdir()
            assert await here.has(["kept"])

    asyncio.run(main())


def test_what_docker_sends_of_apps_in_containers_is_theirs(tmp_path):
    """As its log driver writes it: Docker Engine 20.10, `syslog-format: rfc5424micro`."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    said = f"trace_id={trace} [charged] 3 <b> ünd".encode()
    now = datetime.now(UTC)
    head = f"<30>1 {now.strftime('%Y-%m-%dT%H:%M:%S.%fZ')} host".encode()

    async def main() -> None:
        port = free_udp_port()
        async with host(tmp_path, f"127.0.0.1:{port}") as here:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as docker:
                for text in (b"", b"no syslog at all", head + b" orders/shop-orders-1 77 orders - " + said + b"\n"):
                    docker.sendto(text, ("127.0.0.1", port))
            assert await here.has([said.decode()], service="orders", kind="app")
            (found,) = (await here.logs.search(parse({"trace": trace}))).records
            assert (found.instance, round(found.time, 3)) == ("shop-orders-1", round(now.timestamp(), 3))
            assert here.value("telemetry_log_records_dropped_total", reason="malformed") == 2

    asyncio.run(main())


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
