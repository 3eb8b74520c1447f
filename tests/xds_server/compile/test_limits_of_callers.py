"""What a stock Envoy asks of a service that counts by callers: of who has a name, and of who has none."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

from tests.xds_server.compile.fleet import APP_PORT, App, Fleet, wait_for

MESH = """
mesh: callers
trust_domain: callers.local
mtls: permissive
services:
  web: {protocol: http, port: 8080, calls: [orders]}
  orders:
    protocol: http
    port: 8080
    calls: [limiter]
    rate_limit: {global: {service: limiter, timeout: 5s, limits: [{requests_per_unit: 2, unit: day, by_caller: true}]}}
  limiter: {protocol: grpc, port: 8081}
"""


class Limiter(grpc.GenericRpcHandler):
    """Takes every request, and remembers by whom it was to be counted."""

    def __init__(self) -> None:
        self.callers: list[str] = []

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            self._take, RateLimitRequest.FromString, RateLimitResponse.SerializeToString
        )

    def _take(self, request: RateLimitRequest, _: grpc.ServicerContext) -> RateLimitResponse:
        self.callers += [e.value for d in request.descriptors for e in d.entries if e.key == "caller"]
        return RateLimitResponse(overall_code=RateLimitResponse.Code.OK)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Fleet, Limiter]]:
    fleet = Fleet(MESH, tmp_path)
    fleet.add("web")
    app, limiter = App(fleet.add("orders").address, "orders"), Limiter()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[limiter])
    server.add_insecure_port(f"{fleet.add('limiter').app_address}:{APP_PORT}")
    server.start()
    with fleet.running():
        yield fleet, limiter
    server.stop(None).wait()
    app.stop()


def test_who_sends_plain_text_is_counted_as_one_caller(world: tuple[Fleet, Limiter]) -> None:
    """Envoy does not ask about a request that lacks what is to be counted by, and takes it."""
    fleet, limiter = world
    node = fleet.nodes["orders-v1"]
    wait_for(lambda: httpx.get(f"http://{fleet.outbound('web-v1', 'orders')}/").is_success and bool(limiter.callers))
    assert set(limiter.callers) == {"spiffe://callers.local/web"}
    limiter.callers.clear()
    named = {"x-forwarded-client-cert": "URI=spiffe://callers.local/web"}
    for headers in ({}, named):
        assert httpx.get(f"http://{node.address}:{node.port}/", headers=headers, timeout=20).status_code == 200
    assert limiter.callers == ["-", "-"]
