"""Who makes an x-request-id, what becomes of one that a request bears, and that traces need none. Real Envoys."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from legation.mesh import names
from tests.support.envoys import VERSIONS, envoy
from tests.support.otlp import Receiver, receiving
from tests.xds_server.compile.fleet import APP_PORT, App, Fleet, address, shop, wait_for
from xds_server.prove.capabilities import capabilities

GATEWAY_SLOT, OUTSIDE_SLOT = 100, 140
MESH = f"""
mesh: numbered
trust_domain: numbered.local
LOGGING
TRACING
services:
  web:
    protocol: http
    port: 8080
    calls: [orders, bank]
    expose: {{port: 18080, address: {address(GATEWAY_SLOT)}}}
    routes: [ROUTES]
  orders: {{protocol: http, port: 8080, mtls: permissive, routes: [ROUTES]}}
external:
  bank: {{host: {address(OUTSIDE_SLOT)}, port: {APP_PORT}, tls: false}}
"""
ID = "x-request-id"


class World:
    """A gateway, two services and a server outside; the tests play web's app when it calls."""

    def __init__(self, fleet: Fleet, apps: dict[str, App], receiver: Receiver) -> None:
        self.fleet, self.apps, self.receiver = fleet, apps, receiver
        self.client = httpx.Client()

    def seen(self, service: str, url: str, **headers: str) -> dict[str, str]:
        """Ask there; return the headers that a service's app got."""
        assert self.client.get(url, headers=headers).status_code == 200
        return self.apps[service].seen[-1][2]

    def from_outside(self, path: str = "/", **headers: str) -> dict[str, str]:
        return self.seen("web", f"http://{address(GATEWAY_SLOT)}:18080{path}", **headers)

    def call(self, callee: str, path: str = "/", **headers: str) -> dict[str, str]:
        return self.seen(callee, f"http://{self.fleet.outbound('web-v1', callee)}{path}", **headers)

    def logged(self, instance: str, path: str, count: int = 1) -> list[str]:
        """Return the ids in an instance's records of the requests for a path, once there are so many."""

        def found() -> list[str]:
            lines = [line for line in self.fleet.log(instance).splitlines() if f'"{path}"' in line]
            return [str(json.loads(line)["request_id"]) for line in lines]

        wait_for(lambda: len(found()) >= count)
        return found()

    def sampled(self, found: list[dict[str, str]], spans: int) -> int:
        """Return how many of the requests are traced; those have so many spans each, and the others none."""
        decided = [headers["traceparent"].split("-") for headers in found]
        traced = [trace for _, trace, _, flags in decided if flags == "01"]
        wait_for(lambda: all(len(self.receiver.trace(trace)) == spans for trace in traced))
        assert not any(self.receiver.trace(trace) for _, trace, _, flags in decided if flags != "01")
        return len(traced)


@dataclass(frozen=True)
class Asked:
    """What mesh.yaml says of it, and which Envoy takes it."""

    logging: str = ""
    tracing: str = ""
    routes: str = ""
    version: str = VERSIONS[-1]


PLAIN, ALL = Asked(), Asked("logging: {generate_request_id: true, mode: client_and_server}")
TRACING, ROUTES = (
    "tracing: {otlp: {host: 127.0.0.1, port: PORT}, sampling: 30}",
    "{match: {prefix: /half}, tracing: {sampling: 50}}",
)
TRACED = [Asked("", TRACING, ROUTES, version) for version in VERSIONS]


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    asked: Asked = getattr(request, "param", PLAIN)
    with receiving() as receiver:
        text = MESH.replace("LOGGING", asked.logging).replace("ROUTES", asked.routes)
        text = text.replace("TRACING", asked.tracing.replace("PORT", str(receiver.port)))
        program = envoy(asked.version)
        lacks = asyncio.run(capabilities(program)).lacks
        fleet = Fleet(text, tmp_path_factory.mktemp("fleet"), program=program, lacks=lacks)
        with shop(fleet, OUTSIDE_SLOT) as apps:
            yield World(fleet, apps, receiver)


traced = pytest.mark.parametrize("world", TRACED, indirect=True, ids=VERSIONS)


def plain(world: World, **headers: str) -> dict[str, str]:
    """Ask orders in plain text, as who knows of no mesh does."""
    return world.seen("orders", f"http://{world.fleet.nodes['orders-v1'].address}:{names.INBOUND_PORT}/", **headers)


def is_made(found: str) -> bool:
    return str(uuid.UUID(found)) == found


def test_the_gateway_gives_each_request_an_id_of_its_own_whatever_its_client_says(world: World) -> None:
    found = [world.from_outside("/given", **headers)[ID] for headers in ({}, {ID: "forged"}, {ID: str(uuid.uuid4())})]
    assert all(is_made(one) for one in found)
    assert len(set(found)) == 3
    for instance in ("legation-gateway-v1", "web-v1"):
        assert world.logged(instance, "/given", 3) == found


@pytest.mark.parametrize("callee", ["orders", "bank"])
def test_a_call_of_an_app_bears_the_id_that_the_app_carries_on_and_no_other(world: World, callee: str) -> None:
    assert ID not in world.call(callee)
    assert world.call(callee, **{ID: "of-mine"})[ID] == "of-mine"


def test_plain_text_keeps_its_id_and_is_given_none(world: World) -> None:
    assert ID not in plain(world)
    assert plain(world, **{ID: "of-mine"})[ID] == "of-mine"


def test_a_request_without_an_id_is_written_down_all_the_same(world: World) -> None:
    world.call("orders", "/without")
    assert world.logged("orders-v1", "/without") == ["None"]


@pytest.mark.parametrize("world", [ALL], indirect=True, ids=["all"])
def test_every_proxy_makes_ids_where_mesh_yaml_says_so(world: World) -> None:
    found = world.call("orders", "/all")[ID]
    assert world.logged("web-v1", "/all") == world.logged("orders-v1", "/all") == [found]
    assert is_made(found)
    assert is_made(world.call("bank")[ID])
    assert is_made(plain(world)[ID])
    assert world.call("orders", **{ID: "of-mine"})[ID] == "of-mine"


@traced
def test_an_id_of_the_gateway_is_the_same_at_each_hop_traced_or_not(world: World) -> None:
    for number in range(20):
        path = f"/same/{number}"
        found = world.from_outside(path)
        carried = {name: found[name] for name in (ID, "traceparent")}
        assert world.call("orders", path, **carried)[ID] == found[ID]
        ids = [world.logged(instance, path) for instance in ("legation-gateway-v1", "web-v1", "orders-v1")]
        assert ids == [[found[ID]]] * 3


@traced
@pytest.mark.parametrize(("path", "share"), [("/", 0.3), ("/half", 0.5)])
def test_the_gateway_traces_the_share_of_the_mesh_or_of_the_route(world: World, path: str, share: float) -> None:
    found = [world.from_outside(path) for _ in range(400)]
    assert abs(world.sampled(found, spans=2) / 400 - share) < 0.12


@traced
@pytest.mark.parametrize("path", ["/", "/half"])
@pytest.mark.parametrize("made", ["none", "uuid", "own"])
def test_what_begins_in_an_app_is_traced_by_the_mesh_s_share_whatever_its_id(
    world: World, made: str, path: str
) -> None:
    ids = {"none": dict, "uuid": lambda: {ID: str(uuid.uuid4())}, "own": lambda: {ID: "order-7"}}
    found = [world.call("orders", path, **ids[made]()) for _ in range(400)]
    assert abs(world.sampled(found, spans=2) / 400 - 0.3) < 0.12
