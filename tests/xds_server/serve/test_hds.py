"""What Envoy reports, as one word about the app."""

import asyncio

import pytest
from envoy.config.core.v3.health_check_pb2 import DEGRADED, DRAINING, HEALTHY, TIMEOUT, UNHEALTHY, UNKNOWN
from envoy.service.health.v3.hds_pb2 import HealthCheckRequestOrEndpointHealthResponse as Message

from legation.runtime.tasks import Latest
from tests.xds_server.protocol.client import snapshot
from tests.xds_server.serve.world import Call, Consumer, dial, seen
from xds_server.serve.hds import HDS
from xds_server.serve.server import serve


def report(flat=(), clustered=()):
    message = Message()
    for status in flat:
        message.endpoint_health_response.endpoints_health.add(health_status=status)
    message.endpoint_health_response.SetInParent()
    locality = message.endpoint_health_response.cluster_endpoints_health.add().locality_endpoints_health.add()
    for status in clustered:
        locality.endpoints_health.add(health_status=status)
    return message


@pytest.mark.parametrize(
    ("flat", "clustered", "healthy"),
    [
        ([HEALTHY], [], True),
        ([], [HEALTHY], True),
        ([DEGRADED], [DEGRADED], True),
        ([UNHEALTHY], [], False),
        ([], [TIMEOUT], False),
        ([DRAINING], [], False),
        ([HEALTHY, UNHEALTHY], [], False),
        ([UNKNOWN, HEALTHY], [], True),
        ([UNKNOWN], [UNKNOWN], None),
        ([], [], None),
    ],
)
def test_a_report_says_whether_the_app_is_healthy(tmp_path, flat, clustered, healthy):
    async def script(consumer, call):
        await call.write(hello("web-v1-0"))
        assert await call.read() == b"specifier"
        await call.write(report(flat, clustered).SerializeToString())
        await seen(lambda: bool(consumer.reports))
        assert consumer.reports == [healthy]
        consumer.specifiers.set(b"another")
        assert await call.read() == b"another"
        assert [(info.service, info.node_id) for info in consumer.infos] == [("hds", "web-v1-0")]

    talk(tmp_path, script)


@pytest.mark.parametrize("bad", [b"\xff\xff", Message().SerializeToString()], ids=["garbage", "no node"])
def test_a_bad_hello_is_refused(tmp_path, bad):
    async def script(consumer, call):
        await call.write(bad)
        assert (await call.code()).name == "INVALID_ARGUMENT"
        assert consumer.infos == []

    talk(tmp_path, script)


def hello(node: str) -> bytes:
    return Message(health_check_request={"node": {"id": node}}).SerializeToString()


def talk(tmp_path, script):
    async def main():
        consumer = Consumer(Latest(snapshot()), Latest(b"specifier"))
        async with (
            serve(consumer, address=tmp_path / "s", health=consumer, grace=0.2) as server,
            dial(server.address) as channel,
            asyncio.timeout(10),
        ):
            await script(consumer, Call(channel, f"/{HDS}/StreamHealthCheck").call)
        assert consumer.open == set()

    asyncio.run(main())
