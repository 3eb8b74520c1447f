"""What callers with `allow` may do, said by rows of routes: the same as the filter of requests allows, or nothing."""

from itertools import product
from pathlib import Path

import httpx
import pytest

from legation.mesh.load import load
from legation.mesh.model.call import Allow
from tests.support.envoys import VERSIONS
from tests.xds_server.compile.test_access_once import JWT, MESH, World
from xds_server.compile.access_once import EVERYTHING, decided_once
from xds_server.compile.older import ACCESS_ONCE
from xds_server.compile.rbac import callers

UNSURE = "/b/c?//"
"""A query that would not be clear in a path: rows look at both at once, and leave it to the filter."""
PATHS = ("/a", "/a?x", "/a/", "/A", "/%61", "//a", "/b/", "/b", "/b/c", "/b/c;d", "/b/../c", "/b/%2e%2e/c", "/b/..%2fc",
         UNSURE, "/b/%252e", "/c", "/")  # fmt: skip
TEAMS: tuple[list[tuple[str, str]], ...] = (
    [("x-team", "pay")],
    [("x-team", "payments"), ("x-test", "1")],
    [("X-Team", "pay"), ("x-team", "sales")],
    [("x-team", "sales"), ("x-team", "pay")],
    [("x-team", "sales, pay")],
    [("x-team", "")],
    [("x_team", "pay")],
    [],
)


def asked(world: World, who: str) -> list[tuple[str, int, str]]:
    """Ask for everything in every way; return each path, status, and what the app saw of it."""
    found = []
    with world.client(who, to="files") as client:
        for path, headers, method in product(PATHS, TEAMS, ("GET", "POST", "PUT")):
            world.apps["files"].reset()
            status = client.send(raw(client, method, path, headers)).status_code
            found.append((path, status, str([one[:2] for one in world.apps["files"].seen])))
    return found


def raw(client: httpx.Client, method: str, path: str, headers: list[tuple[str, str]]) -> httpx.Request:
    """Return a request whose path is sent as it is written."""
    made = client.build_request(method, "/", headers=headers)
    made.extensions = {**made.extensions, "target": path.encode()}
    return made


def test_rows_allow_what_the_filter_allows(tmp_path: Path) -> None:
    """By the same Envoy, with and without rows: whatever is asked for, and however."""
    found = {}
    for name, more in {"rows": (), "filter": (ACCESS_ONCE.name,)}.items():
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, VERSIONS[-1], more)
        try:
            with world.fleet.running():
                found[name] = {who: asked(world, who) for who in ("team", "reader")}
                decided = world.decided("files")
        finally:
            for app in world.apps.values():
                app.stop()
        allowed = sum(status == 200 for answers in found[name].values() for _, status, _ in answers)
        unsure = sum(status == 200 for path, status, _ in found[name]["team"] if path == UNSURE)
        assert allowed > 100
        assert decided == (unsure if name == "rows" else allowed), "the filter let in what rows should have"
    assert found["rows"] == found["filter"]


def rights_of(allow: str, jwt: str = "") -> list[tuple[Allow, ...]]:
    text = f"""
mesh: once
trust_domain: once.local
services:
  web: {{protocol: http, port: 80, calls: [{{service: orders, allow: [{allow}]}}]}}
  desk: {{protocol: http, port: 80, calls: [orders]}}
  orders: {{protocol: http, port: 80{jwt}}}
"""
    mesh = load(text, "mesh.yaml").mesh
    return list(decided_once(mesh.services["orders"], callers(mesh)["orders"]).values())


@pytest.mark.parametrize(
    ("allow", "jwt", "sayable"),
    [
        ("{methods: [GET]}", "", True),
        ("{methods: [GET], claims: {role: admin}}", JWT, False),
        ("{methods: [GET]}, {claims: {role: admin}}", JWT, False),
        ("{headers: {x-user: ann}}", "", True),
        ("{headers: {x-user: ann}}", JWT, False),
        ("{headers: {authorization: {present: true}}}", JWT, False),
        ("{headers: {x-token: {present: true}}}", JWT.replace("issuer", "from_header: x-token, issuer"), False),
        ("{headers: {x-team: pay}}", JWT, True),
        ("{paths: [/a, /b, /c, /d]}", "", True),
        ("{paths: [/a, /b, /c, /d]}, {methods: [PUT]}", "", False),
    ],
)
def test_what_a_request_is_only_later_is_left_to_the_filter(allow: str, jwt: str, sayable: bool) -> None:
    """Claims, and headers that come of them, are there once the token was looked at; a long way round saves nothing."""
    found = rights_of(allow, jwt)
    assert () in found, "who may do everything is decided once in any case"
    assert len(found) == (2 if sayable else 1)


def test_other_rights_have_another_name() -> None:
    """Routes from before a change mean nothing to a listener from after it."""
    names: set[str] = set()
    for allow in ("{methods: [GET]}", "{methods: [POST]}", "{methods: [GET], paths: [/a]}"):
        for jwt in ("", JWT):
            text = MESH.replace("{methods: [GET], paths: [/a]}", allow)
            text = text.replace("  orders: {", f"  orders: {{{jwt.removeprefix(', ')}{', ' if jwt else ''}")
            mesh = load(text, "mesh.yaml").mesh
            names |= decided_once(mesh.services["orders"], callers(mesh)["orders"]).keys()
    assert len(names - {EVERYTHING}) == 6
