"""A container beside others: who it is on each of its networks, and what its health check is told."""

import asyncio
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.sidecar.admin import Admin
from legation.sidecar.phase import Phase
from legation.sidecar.place import completed, own_address
from legation.sidecar.run import Sidecar
from legation.sidecar.settings import RunSettings
from tests.support.tiny_http import serve

OURS = f"127.216.{os.getpid() % 250}"


def settings(root: Path, **more) -> RunSettings:
    spec = InstanceSpec("orders-v1-a", "orders", "v1", "", "")
    return RunSettings(spec, (), "xds", 0, root, Path("envoy"), beside=True, advertise=f"{OURS}.1", **more)


def placed(given: RunSettings) -> RunSettings:
    with ExitStack() as held:
        return asyncio.run(completed(given, held))


def test_it_has_an_address_on_each_network_and_its_app_a_name(tmp_path: Path) -> None:
    outside = (f"{OURS}.3", f"{OURS}.4")
    given = settings(tmp_path, app="orders:8080", private=f"{OURS}.2", plain=outside, metrics=f"{OURS}.1")
    spec = placed(given).spec
    assert (spec.app_address, spec.app_port, spec.by_name) == ("orders", 8080, True)
    assert (spec.address, spec.port, spec.own_address) == (f"{OURS}.1", names.INBOUND_PORT, f"{OURS}.2")
    assert (spec.plain_addresses, spec.scraped_address) == (outside, f"{OURS}.1")
    assert spec.boot


def test_a_gateway_has_no_app_and_without_a_name_for_it_nobody_reads_its_metrics(tmp_path: Path) -> None:
    spec = placed(settings(tmp_path)).spec
    assert (spec.app_port, spec.own_address, spec.scraped_address) == (0, f"{OURS}.1", "127.0.0.1")


def test_a_name_that_leads_to_others_alone_is_said(tmp_path: Path) -> None:
    for name in ("192.0.2.1", "nobody.invalid"):
        with pytest.raises(OSError, match=f"'{name}' leads to no address of ours"):
            asyncio.run(own_address(name, limit=0.1))


def test_the_health_check_sees_whether_callers_have_its_address_and_its_envoy_answers(tmp_path: Path) -> None:
    given = replace(settings(tmp_path), beside=True)
    given.state.make()
    sidecar = Sidecar.__new__(Sidecar)
    sidecar._settings = given
    starting = Phase(has_app=True, apart=True)
    for said, phase, there in (
        ("restarting", starting.with_envoy(ready=True), True),
        ("ready", starting.with_envoy(ready=True).with_app(ready=True), True),
        ("restarting", starting, False),
        ("draining", starting, False),
    ):
        sidecar._phase = phase
        sidecar._mark(said)  # type: ignore[arg-type]
        assert given.state.ready.exists() is there, said


def test_an_app_is_there_when_envoy_has_a_healthy_one(tmp_path: Path) -> None:
    """Not while it is ill, nor for one of a service that it calls."""
    said = ["local_app::10.0.0.2:8080::health_flags::/failed_active_hc", "orders::10.0.0.3:80::health_flags::healthy"]
    admin = Admin(tmp_path / "admin.sock")

    async def scene() -> list[bool]:
        await serve(tmp_path / "admin.sock", lambda *_: (200, "\n".join(said).encode()))
        before = await admin.has_healthy_host("local_app")
        said.append("local_app::10.0.0.4:8080::health_flags::healthy")
        return [before, await admin.has_healthy_host("local_app")]

    assert asyncio.run(scene()) == [False, True]
