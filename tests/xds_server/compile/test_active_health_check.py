"""Callers' Envoys that ask peers' Envoys whether they can be reached: seen by what is left out, and by silence."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from tests.support.otlp import Receiver, receiving
from tests.xds_server.compile.fleet import App, Fleet, address, wait_for
from xds_server.compile import Compiler
from xds_server.compile.active_health_check import PATH
from xds_server.compile.forged import OF_PROXIES
from xds_server.endpoint import Endpoint
from xds_server.snapshot import Snapshot

UNREACHABLE_SLOT = 130
MESH = """
mesh: active
trust_domain: active.local
tracing: {otlp: {host: 127.0.0.1, port: PORT}, sampling: 100}
services:
  web:
    protocol: http
    port: 8080
    calls: [{service: orders, allow: [{paths: [/mine]}]}, {service: young, allow: [{paths: [/mine]}]}]
  orders:
    protocol: http
    port: 8080
    active_health_check: {interval: 100ms, timeout: 5s, unhealthy_threshold: 1}
    load_balancing: {panic_threshold: 0}
    routes: [{retry: {num_retries: 0}}]
  young:
    protocol: http
    port: 8080
    active_health_check: {interval: 100ms, timeout: 5s, unhealthy_threshold: 1}
    routes: [{retry: {num_retries: 0}}]
"""


class Behind(Fleet):
    """One in which young does not know yet that it is asked, and its caller asks already."""

    def _snapshot(self, node: InstanceSpec) -> Snapshot:
        if node.service != "young":
            return super()._snapshot(node)
        text = re.sub("    active_health_check: .*\n", "", self.text)
        return Compiler(load(text, "mesh.yaml")).snapshot(node, self._endpoints())


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[tuple[Fleet, App]]:
    fleet = Behind(MESH.replace("PORT", str(receiver.port)), tmp_path_factory.mktemp("active"))
    fleet.add("web")
    app = App(fleet.add("orders").address, "orders")
    young = App(fleet.add("young").address, "young")
    fleet.extra = {"orders": (Endpoint("orders-gone", "v1", address(UNREACHABLE_SLOT), 15006),)}
    with fleet.running():
        yield fleet, app
    app.stop()
    young.stop()


def test_what_an_app_answers_takes_no_instance_out(running: tuple[Fleet, App]) -> None:
    """Envoy believes a header of its own family; an app may pass on whatever somebody else has made it say."""
    fleet, app = running
    url = f"http://{fleet.outbound('web-v1', 'orders')}/mine"
    wait_for(lambda: all(httpx.get(url, timeout=10).status_code == 200 for _ in range(10)))
    app.headers = dict.fromkeys(OF_PROXIES, "1")
    answers = [httpx.get(url, timeout=10) for _ in range(10)]
    app.headers = {}
    assert [answer.status_code for answer in answers] == [200] * 10
    assert [name for answer in answers for name in answer.headers if name.startswith("x-envoy")] == []


def test_a_caller_leaves_out_whom_it_cannot_reach(running: tuple[Fleet, App], receiver: Receiver) -> None:
    fleet, app = running
    url = f"http://{fleet.outbound('web-v1', 'orders')}"

    def all_well() -> bool:
        return all(httpx.get(f"{url}/mine", timeout=10).status_code == 200 for _ in range(10))

    def spans_of(service: str) -> list[Any]:
        return [span for span in receiver.spans if span.service == service]

    wait_for(all_well)
    assert all_well(), "without retries, half of them would have met the one that is gone"
    assert {path for _, path, _ in app.seen} == {"/mine"}, "no app is asked"
    wait_for(lambda: fleet.stat("orders-v1", "http.inbound.downstream_rq_2xx") == len(app.seen))
    assert fleet.stat("orders-v1", "http.inbound.downstream_rq_completed") == len(app.seen)
    wait_for(lambda: "/mine" in fleet.log("orders-v1"))
    assert PATH not in fleet.log("orders-v1"), "what peers ask is not logged"
    wait_for(lambda: len(spans_of("orders")) >= len(app.seen))
    assert PATH not in {urlsplit(span.tags["http.url"]).path for span in spans_of("orders")}, "nor traced"


def test_who_does_not_know_yet_that_it_is_asked_is_not_left_out(running: tuple[Fleet, App]) -> None:
    """Two proxies never hear of a change at once, and what the first answer says holds until the next check."""
    fleet, _ = running
    wait_for(lambda: fleet.stat("young-v1", "http.inbound.downstream_rq_4xx") > 2)
    url = f"http://{fleet.outbound('web-v1', 'young')}/mine"
    assert [httpx.get(url, timeout=10).status_code for _ in range(10)] == [200] * 10
