"""Who may ask what of the control API from another host."""

import pytest

from legation.mesh import names
from xds_server import rights
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
