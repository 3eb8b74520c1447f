"""Clients that are slow, many, gone, strangers or hostile; and a server that leaves."""

import asyncio
import datetime as dt
import random
import time

import pytest
from envoy.config.core.v3.base_pb2 import Node

from tests.conformance.content import make
from tests.conformance.kit import Kit, case
from tests.conformance.proxy import Ended, Proxy
from tests.conformance.target import Resource
from tests.conformance.variants import CLUSTER, ENDPOINT, Variant
from tests.xds_server.serve.world import Authority, client_credentials

CYCLES = 2_500
"""Connects and disconnects of each variant: ten thousand in all."""
AT_ONCE = 50
DRAINED = 40


@case(48, "a slow reader costs a bounded queue: what lies between is left out, and nobody else waits")
async def test_case_48(kit: Kit):
    def big(value: int) -> list[Resource]:
        return [Resource(CLUSTER, "a", make(CLUSTER, "a", value, 100_000))]

    await kit.give_resources(big(1))
    slow, other = await kit.proxy(http2_bdp_probe=0, http2_lookahead_bytes=65_536), await kit.proxy()
    for proxy in (slow, other):
        await proxy.ask(CLUSTER)
        await proxy.settle(CLUSTER, a=1)
    changes = 150
    for value in range(2, changes + 1):
        await kit.give_resources(big(value))
        if value % 50 == 0:
            await other.settle(CLUSTER, a=value)
    await slow.settle(CLUSTER, 15.0, a=changes)
    assert len(slow.log) <= 100


@case(49, "streams that are cancelled, half-closed or cut leave nothing behind: ten thousand of them", needs=("load",))
async def test_case_49(kit: Kit, variant: Variant):
    await kit.give(clusters={"a": 1})

    async def nothing_left() -> bool:
        return await kit.control.load() == (0, 0)

    await kit.seen("no stream is open before", nothing_left)
    shared = await kit.proxy()
    channel = shared._channel

    async def come_and_go(how: int) -> None:
        proxy = Proxy(variant, channel, kit.node)
        await proxy.ask(CLUSTER)
        await proxy.next(CLUSTER)
        if how % 2:
            proxy.leave()
        else:
            await proxy.stream(CLUSTER).call.done_writing()
            assert (await proxy.end(CLUSTER)).startswith("OK")

    for start in range(0, CYCLES, AT_ONCE):
        await asyncio.gather(*(come_and_go(start + i) for i in range(AT_ONCE)))
    for _ in range(20):
        cut = await kit.proxy()
        await cut.ask(CLUSTER)
        await cut.next(CLUSTER)
        await cut._channel.close()
    await kit.seen("all streams and watches are gone", nothing_left, 10)


_HUGE = [f"name-{i}" for i in range(1_000_000)]


@case(51, "garbage, a million names, giant metadata or another node's id end their own stream at most")
@pytest.mark.parametrize("what", ["garbage", "names", "metadata", "text", "unknown type"])
async def test_case_51(kit: Kit, what: str):
    await kit.give(clusters={"a": 1})
    good, bad = await kit.proxy(), await kit.proxy()
    await good.ask(CLUSTER)
    await good.settle(CLUSTER, a=1)
    names = "resource_names_subscribe" if kit.variant.delta else "resource_names"
    end = None
    try:
        await _be_bad(bad, what, names)
        await bad.drain()
    except Ended as ended:
        end = ended.status
    assert end not in {"OK", "UNKNOWN"}, "a refusal says so by its status"
    await kit.give(clusters={"a": 2})
    await good.settle(CLUSTER, a=2)
    fresh = await kit.proxy()
    await fresh.ask(CLUSTER)
    await fresh.settle(CLUSTER, a=2)


async def _be_bad(bad: Proxy, what: str, names: str) -> None:
    match what:
        case "garbage":
            await bad.stream(CLUSTER).write(b"\xff" * 1000)
        case "names":
            await bad.request(CLUSTER, **{names: _HUGE})
        case "metadata":
            node = Node(id=bad.node)
            node.metadata["x"] = "x" * 3_000_000
            await bad.request(CLUSTER, node=node)
        case "text":  # a resource name that is no UTF-8
            await bad.stream(CLUSTER).write(b"\x1a\x02\xc3\x28")
        case _:
            await bad.request(CLUSTER, type_url="type.googleapis.com/no.such.Type")


@case(52, "a server that stops ends its streams with UNAVAILABLE, spread over a time", needs=("drain", "replica"))
async def test_case_52(kit: Kit):
    await kit.give(endpoints={"a": 1})
    address = await kit.control.start()
    proxies = [await kit.proxy(address=address) for _ in range(DRAINED)]
    for proxy in proxies:
        await proxy.ask(ENDPOINT, "a")
        await proxy.settle(ENDPOINT, a=1)
    ends: list[float] = []

    async def end(proxy: Proxy) -> str:
        said = await proxy.end(ENDPOINT)
        ends.append(time.monotonic())
        return said.partition(":")[0]

    waiting = [asyncio.ensure_future(end(proxy)) for proxy in proxies]
    await kit.control.stop(address)
    assert set(await asyncio.gather(*waiting)) == {"UNAVAILABLE"}
    ends.sort()
    assert ends[DRAINED * 3 // 4] - ends[DRAINED // 4] > 0.1, "they ended all at once"


@case(
    50, "a certificate of another node is refused; one that expires or is revoked loses its live stream", needs=("tls",)
)
async def test_case_50(kit: Kit):
    authority = Authority()
    server = authority.issue("spiffe://conformance/server", 1)
    tls = {"ca": authority.pem, "certificate": server.certificate_chain, "key": server.private_key}
    await kit.give(clusters={"a": 1})
    address = await kit.replica({name: pem.decode() for name, pem in tls.items()})

    first = random.getrandbits(64) << 8 | 1 << 72

    async def come(number: int, whose: str = kit.node, **life) -> Proxy:
        credentials = client_credentials(authority.issue(f"spiffe://conformance/{whose}", first + number, **life))
        proxy = await kit.proxy(address=address, credentials=credentials)
        await proxy.ask(CLUSTER)
        return proxy

    refused = ("PERMISSION_DENIED", "UNAUTHENTICATED")
    mine = await come(1)
    await mine.settle(CLUSTER, a=1)
    assert (await (await come(2, f"{kit.node}-other")).end(CLUSTER)).startswith(refused)
    short = await come(3, life=dt.timedelta(seconds=2))
    await short.settle(CLUSTER, a=1)
    assert (await short.end(CLUSTER)).startswith((*refused, "UNAVAILABLE"))
    await mine.quiet()
    await kit.control.revoke(f"{first + 1:020x}")
    assert (await mine.end(CLUSTER)).startswith((*refused, "UNAVAILABLE"))
    assert (await (await come(1)).end(CLUSTER)).startswith(refused)
    again = await come(4)
    await again.settle(CLUSTER, a=1)
