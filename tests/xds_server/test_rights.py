"""Who may ask what of the control API from another host."""

import asyncio
import re

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from legation.mesh import names
from legation.runtime.clock import WallClock
from xds_server import rights
from xds_server.control import Control
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.registry.store import SqliteStore
from xds_server.rights import may

SERVICES = {"web": None, "orders": None}
ROLLOVER = {
    rights.READ_ROLLOVER,
    rights.WATCH_ROLLOVER,
    rights.MOVE_ROLLOVER,
    rights.REPORT_ROLLOVER,
    rights.FORGET_HOST,
}
CALLS = frozenset(call for call in vars(rights).values() if isinstance(call, rights.Call))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("web", {rights.PLAN, rights.TRANSITION}),
        (names.GATEWAY, {rights.PLAN, rights.TRANSITION}),
        (
            names.CERTMGR,
            {rights.READ_MESH, rights.WATCH_MESH, rights.REVOKED, rights.READ_ROLLOVER, rights.WATCH_ROLLOVER}
            | {rights.REPORT_ROLLOVER, rights.READ_INSTANCES},
        ),
        (
            names.TELEMETRY,
            {rights.READ_MESH, rights.WATCH_MESH, rights.READ_INSTANCES, rights.WATCH_INSTANCES},
        ),
        (names.HOST, CALLS - ROLLOVER - {rights.PLAN, rights.TRANSITION, rights.REVOKED}),
        (names.XDS_SERVER, set()),
        ("nobody", set()),
        (None, set()),
    ],
)
def test_each_has_its_own_rights_and_no_other(name: str | None, allowed: set[rights.Call]) -> None:
    assert {call for call in CALLS if may(name, call, SERVICES)} == allowed
    assert len(CALLS) == 15


@pytest.mark.parametrize(
    ("spiffe_id", "name"),
    [
        ("spiffe://shop.local/web", "web"),
        ("spiffe://shop.local/legation/certmgr", "legation-certmgr"),
        ("spiffe://shop.local/legation-certmgr", None),
        ("spiffe://other.local/web", None),
        ("spiffe://shop.local/web/more", None),
        ("spiffe://shop.local/legation/a/b", None),
        ("https://shop.local/web", None),
    ],
)
def test_a_name_has_one_spiffe_id(spiffe_id: str, name: str | None) -> None:
    assert names.named("shop.local", spiffe_id) == name


def test_on_the_socket_for_readers_nothing_can_be_changed(tmp_path):
    store = SqliteStore(tmp_path / "registry.sqlite")
    plane = ControlPlane(store, WallClock(), Metrics(CollectorRegistry()))

    async def main() -> dict[rights.Call, int]:
        transport = httpx.ASGITransport(Starlette(routes=Control(plane).routes(rights.READING)))
        found = {}
        async with httpx.AsyncClient(transport=transport, base_url="http://xds") as client:
            for call in CALLS:
                if not call.path.endswith("/watch"):  # which does not end
                    path = re.sub("{.*?}", "a", call.path)
                    found[call] = (await client.request(call.method, path)).status_code
        return found

    asked = asyncio.run(main())
    store.close()
    assert {call for call, status in asked.items() if status != 403} == {
        rights.READ_MESH,
        rights.READ_INSTANCES,
        rights.READ_ROLLOVER,
    }
    assert all(call.method == "GET" for call in rights.READING)
