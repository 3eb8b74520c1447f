"""telemetry as a running service, before an xds_server that comes, speaks and goes."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from legation.runtime.control.client import ControlClient
from legation.runtime.control.messages import InstanceList, MeshDocument, TelemetryStatus
from legation.runtime.tasks import until
from telemetry.service import run
from telemetry.settings import Settings
from tests.certmgr.test_partial import given
from tests.certmgr.test_partial import running as envoy_of_a_team
from tests.support.mesh import PLAIN
from tests.telemetry.registry import MESH, Registry, instance
from xds_server.compile.partial import telemetry_alone

LIMIT = 20.0


class FixedClock:
    def now(self) -> float:
        return 1000.5


class Client:
    """What Prometheus and the command see."""

    def __init__(self, settings: Settings, status: TelemetryStatus) -> None:
        self.settings, self.base = settings, status.discovery_url.removesuffix("/sd")

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.base, verify=PLAIN) as client:
            return await client.get(path)

    async def targets(self) -> list[str]:
        answer = await self.get("/sd")
        return [group["labels"]["instance"] for group in answer.json()] if answer.status_code == 200 else []

    async def has_targets(self, *wanted: str) -> bool:
        async def asked() -> bool:
            return await self.targets() == [*wanted]

        return await until(asked, LIMIT)

    async def metric(self, name: str) -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        return {tuple(s.labels.values()): s.value for f in families for s in f.samples if s.name == name}

    async def metric_is(self, name: str, wanted: Mapping[Any, float]) -> bool:
        async def asked() -> bool:
            return await self.metric(name) == wanted

        return await until(asked, LIMIT)

    async def status(self) -> TelemetryStatus:
        return await status_of(self.settings)


async def status_of(settings: Settings) -> TelemetryStatus:
    client = ControlClient(settings.control)
    return await client.get("/status", TelemetryStatus)


@asynccontextmanager
async def running(folder) -> AsyncIterator[Client]:
    settings = Settings(folder / "t.sock", folder / "x.sock", port=0, components="certmgr=127.0.0.1:15012")
    task = asyncio.ensure_future(run(settings, FixedClock()))

    async def is_up() -> bool:
        return settings.control.exists() or task.done()

    try:
        assert await until(is_up, LIMIT)
        yield Client(settings, await status_of(settings))
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


def test_before_xds_server_speaks_prometheus_is_told_to_keep_what_it_has(tmp_path):
    async def main() -> None:
        async with running(tmp_path) as client:
            assert (await client.get("/sd")).status_code == 503
            status = await client.status()
            assert (status.ready, status.targets, status.pid) == (False, 0, os.getpid())

    asyncio.run(main())


def test_targets_follow_the_registry(tmp_path):
    async def main() -> None:
        registry = Registry(instance(1))
        async with running(tmp_path) as client, registry.serving(client.settings.xds_control):
            assert await client.has_targets("web-v1-1", "certmgr", "telemetry")
            registry.instances.set(InstanceList(instances=(instance(1), instance(2))))
            assert await client.has_targets("web-v1-1", "web-v1-2", "certmgr", "telemetry")
            status = await client.status()
            assert (status.ready, status.targets) == (True, 4)

    asyncio.run(main())


def test_an_envoy_that_takes_telemetry_alone_is_a_target_with_labels_of_its_own(tmp_path):
    """It has no stream: mesh.yaml says where it is, and there a real one is read."""

    async def main() -> None:
        wanted = given(tmp_path, 1)
        named = {
            "address": "127.0.0.1",
            "port": wanted.node.metrics_port,
            "version": "v2",
            "instance": "a",
            "zone": "z",
        }
        registry = Registry(mesh=MESH.replace("orders: {", f"orders: {{telemetry_only: [{json.dumps(named)}], "))
        async with (
            envoy_of_a_team("1.40.0", tmp_path, telemetry_alone(wanted)),
            running(tmp_path) as client,
            registry.serving(client.settings.xds_control),
            httpx.AsyncClient(trust_env=False, verify=PLAIN) as prometheus,
        ):
            assert await client.has_targets("a", "certmgr", "telemetry")
            group = (await client.get("/sd")).json()[0]
            labels = {name: group["labels"][name] for name in ("service", "version", "instance", "zone")}
            assert labels == {"service": "orders", "version": "v2", "instance": "a", "zone": "z"}
            url = f"http://{group['targets'][0]}{group['labels']['__metrics_path__']}"

            async def is_read() -> bool:
                try:
                    return "envoy_server_live" in (await prometheus.get(url)).text
                except httpx.TransportError:
                    return False

            assert await until(is_read, LIMIT)

    asyncio.run(main())


def test_discovery_answers_in_prometheus_form(tmp_path):
    async def main() -> None:
        registry = Registry(instance(1))
        async with running(tmp_path) as client, registry.serving(client.settings.xds_control):
            assert await client.has_targets("web-v1-1", "certmgr", "telemetry")
            answer = await client.get("/sd")
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()[0]["targets"] == ["127.0.1.1:15090"]
            assert [set(group) for group in answer.json()] == [{"targets", "labels"}] * 3

    asyncio.run(main())


def test_while_xds_server_is_away_the_last_targets_stay_and_telemetry_says_so(tmp_path):
    async def main() -> None:
        async with running(tmp_path) as client:
            async with Registry(instance(1)).serving(client.settings.xds_control):
                assert await client.has_targets("web-v1-1", "certmgr", "telemetry")
            away = {("instances",): 0.0, ("mesh",): 0.0}
            assert await client.metric_is("telemetry_watch_connected", away)
            assert await client.targets() == ["web-v1-1", "certmgr", "telemetry"]
            assert (await client.status()).ready
            async with Registry(instance(2)).serving(client.settings.xds_control):
                assert await client.has_targets("web-v1-2", "certmgr", "telemetry")
                assert await client.metric_is("telemetry_watch_connected", dict.fromkeys(away, 1.0))

    asyncio.run(main())


def test_services_follow_the_mesh_and_a_mesh_that_is_not_understood_changes_nothing(tmp_path):
    async def main() -> None:
        registry = Registry()
        async with running(tmp_path) as client, registry.serving(client.settings.xds_control):
            listed = {("http", "web"): 1.0, ("grpc", "orders"): 1.0, ("gateway", "legation-gateway"): 1.0}
            assert await client.metric_is("mesh_service_info", listed)
            registry.mesh.set(MeshDocument(file="mesh.yaml", text="mesh: [", version="2"))
            registry.instances.set(InstanceList(instances=(instance(1),)))
            assert await client.has_targets("web-v1-1", "certmgr", "telemetry")
            assert await client.metric("mesh_service_info") == listed
            one = "mesh: shop\ntrust_domain: a.b\nservices: {solo: {protocol: http, port: 1}}\n"
            registry.mesh.set(MeshDocument(file="mesh.yaml", text=one, version="3"))
            assert await client.metric_is("mesh_service_info", {("http", "solo"): 1.0})

    asyncio.run(main())


def test_the_last_word_has_a_time_and_requests_are_counted(tmp_path):
    async def main() -> None:
        registry = Registry(instance(1))
        async with running(tmp_path) as client, registry.serving(client.settings.xds_control):
            heard = {("instances",): 1000.5, ("mesh",): 1000.5}
            assert await client.metric_is("telemetry_watch_last_event_timestamp_seconds", heard)
            before = (await client.metric("telemetry_discovery_requests_total"))[()]
            await client.get("/sd")
            assert await client.metric("telemetry_discovery_requests_total") == {(): before + 1}

    asyncio.run(main())


def test_runbooks_are_served_once_the_mesh_is_known(tmp_path):
    async def main() -> None:
        async with running(tmp_path) as client:
            assert (await client.get("/runbooks/MeshTargetDown.md")).status_code == 404
            async with Registry(instance(1)).serving(client.settings.xds_control):
                assert await client.has_targets("web-v1-1", "certmgr", "telemetry")
                answer = await client.get("/runbooks/MeshTargetDown.md")
                assert answer.text.partition("# ")[2].startswith("MeshTargetDown\n")
                assert (await client.get("/runbooks/Mesh.md")).status_code == 404

    asyncio.run(main())


def test_the_control_socket_is_for_its_owner_alone(tmp_path):
    async def main() -> None:
        async with running(tmp_path) as client:
            assert stat.S_IMODE(client.settings.control.stat().st_mode) == 0o600
            assert (await client.get("/status")).status_code == 404

    asyncio.run(main())


def test_a_taken_port_is_an_error(tmp_path):
    async def main() -> None:
        async with running(tmp_path) as client:
            port = int(client.base.rpartition(":")[2])
            with pytest.raises(OSError, match="in use"):
                await run(Settings(tmp_path / "other.sock", tmp_path / "x.sock", port=port), FixedClock())

    asyncio.run(main())


def test_the_process_ends_cleanly_on_sigterm(tmp_path):
    async def main() -> None:
        control = tmp_path / "t.sock"
        command = ["-m", "telemetry", "--control", control, "--xds-control", tmp_path / "x.sock", "--port", "0"]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)

        async def is_up() -> bool:
            return control.exists()

        assert await until(is_up, LIMIT)
        assert not (await status_of(Settings(control, tmp_path / "x.sock"))).ready
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), LIMIT)
        assert process.returncode == 0, said.decode()
        assert b"Traceback" not in said

    asyncio.run(main())
