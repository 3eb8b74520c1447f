"""What a response holds: everything, only what has changed, what is gone, too much for one, or for a time only."""

import pytest

from tests.conformance.content import make
from tests.conformance.kit import Kit, case
from tests.conformance.proxy import Ended
from tests.conformance.target import Resource
from tests.conformance.variants import ADS, CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, SOTW

WILDCARDS = {CLUSTER: "clusters", LISTENER: "listeners"}
NAMED = {ENDPOINT: "endpoints", ROUTE: "routes", SECRET: "secrets"}
GRPC_LIMIT = 4 << 20
"""What gRPC clients take in one message, unless they are told otherwise."""


@case(14, "state of the world: each response of clusters or listeners holds all; what it lacks is gone", *SOTW)
@pytest.mark.parametrize("type_url", WILDCARDS, ids=WILDCARDS.get)
async def test_case_14(kit: Kit, type_url):
    kind = WILDCARDS[type_url]
    await kit.give(**{kind: {"a": 1, "b": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url)
    for values in ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2}, {}, {"b": 1}):
        await kit.give(**{kind: values})
        response = await proxy.next(type_url)
        assert response.values == values
        await proxy.ack(response)
    await proxy.quiet()


@case(
    15, "state of the world: a response of endpoints, routes or secrets may be partial, and takes nothing away", *SOTW
)
@pytest.mark.parametrize("type_url", NAMED, ids=NAMED.get)
async def test_case_15(kit: Kit, type_url):
    kind = NAMED[type_url]
    await kit.give(**{kind: {"a": 1, "b": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url, "a", "b")
    await proxy.settle(type_url, a=1, b=1)
    await kit.give(**{kind: {"a": 2, "b": 1}})
    await proxy.settle(type_url, a=2, b=1)
    await kit.give(**{kind: {"a": 2}})
    for response in await proxy.drain():
        await proxy.ack(response)
    assert proxy.of(type_url).held == {"a": 2, "b": 1}
    await kit.give(**{kind: {"a": 3, "b": 3}})
    await proxy.settle(type_url, a=3, b=3)


@case(30, "unchanged bytes send nothing; delta sends what has changed and nothing else")
async def test_case_30(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1, b=1)
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=1, b=1)
    await kit.give(endpoints={"b": 1, "a": 1}, clusters={"b": 1, "a": 1})
    await proxy.quiet()
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 2})
    response = await proxy.next(ENDPOINT)
    assert response.values in ([{"b": 2}] if kit.variant.delta else [{"b": 2}, {"a": 1, "b": 2}])
    await proxy.ack(response)
    await proxy.quiet()


@case(31, "what is removed is said to be (delta: by name); what was removed and is made again is sent, equal as it is")
async def test_case_31(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1, b=1)
    await kit.give(clusters={"a": 1})
    response = await proxy.next(CLUSTER)
    if kit.variant.delta:
        assert (response.values, response.removed) == ({}, ("b",))
    await proxy.ack(response)
    assert proxy.of(CLUSTER).held == {"a": 1}
    await kit.give(clusters={"a": 1, "b": 1})
    assert (await proxy.next(CLUSTER)).values == ({"b": 1} if kit.variant.delta else {"a": 1, "b": 1})


@case(39, "a cluster without endpoints gets an explicit empty assignment, not silence")
async def test_case_39(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 0, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1, b=1)
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=0, b=1)
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 0, "b": 0})
    await proxy.settle(ENDPOINT, a=0, b=0)


@case(44, "more than a gRPC message holds: split where the protocol can, else an error that says so; others are served")
async def test_case_44(kit: Kit):
    names = {f"n{i:03}": 1 for i in range(120)}
    big = [Resource(CLUSTER, name, make(CLUSTER, name, value, 50_000)) for name, value in names.items()]
    await kit.give_resources(big)
    proxy = await kit.proxy(max_receive_message_length=GRPC_LIMIT)
    await proxy.ask(CLUSTER)
    if kit.variant.delta:
        await proxy.settle(CLUSTER, **names)
        assert (len(proxy.log) > 1, max(response.size for response in proxy.log) <= GRPC_LIMIT) == (True, True)
    else:
        with pytest.raises(Ended, match=r"RESOURCE_EXHAUSTED: .*\b4194304\b"):
            await proxy.settle(CLUSTER, **names)
    other = await kit.proxy(f"{kit.node}-other")
    await kit.give(f"{kit.node}-other", clusters={"a": 1})
    await other.ask(CLUSTER)
    await other.settle(CLUSTER, a=1)


@case(45, "a TTL is set, refreshed by a heartbeat without content, and ended by a resend without", needs=("ttl",))
async def test_case_45(kit: Kit):
    await kit.give_lasting(1.0, endpoints={"a": 1})
    features = () if kit.variant.delta else ("xds.config.supports-resource-ttl", "xds.config.resource-in-sotw")
    proxy = await kit.proxy(features=features)
    await proxy.ask(ENDPOINT, "a")
    first = await proxy.next(ENDPOINT)
    assert ([item.ttl for item in first.items], first.values) == ([1.0], {"a": 1})
    await proxy.ack(first)
    heartbeat = await proxy.next(ENDPOINT, 3.0)
    assert [(item.name, item.value, item.ttl) for item in heartbeat.items] == [("a", None, 1.0)]
    assert heartbeat.items[0].version == first.items[0].version
    await proxy.ack(heartbeat)
    await kit.give(endpoints={"a": 1})
    while (response := await proxy.next(ENDPOINT)).values == {"a": None}:
        await proxy.ack(response)
    assert ([item.ttl for item in response.items], response.values) == ([0.0], {"a": 1})
    await proxy.ack(response)
    await proxy.quiet(seconds=1.0)
    if not kit.variant.delta:
        await _no_ttl_without_the_feature(kit)


async def _no_ttl_without_the_feature(kit: Kit):
    """A client of the state of the world that has not said that it knows TTLs gets plain resources, and once."""
    node = f"{kit.node}-plain"
    await kit.give_lasting(0.5, node, endpoints={"a": 1})
    plain = await kit.proxy(node)
    await plain.ask(ENDPOINT, "a")
    response = await plain.next(ENDPOINT)
    assert ([item.ttl for item in response.items], response.values) == ([0.0], {"a": 1})
    await plain.ack(response)
    await plain.quiet(seconds=1.0)


@case(40, "a changed listener's routes are sent after it; secrets that only a draining listener holds are answered")
async def test_case_40(kit: Kit):
    await kit.give(secrets={"old": 1, "new": 1}, listeners={"web": 1}, routes={"web": 1, "other": 1})
    proxy = await kit.proxy()
    await proxy.ask(SECRET, "old")
    await proxy.settle(SECRET, old=1)
    await kit.give(secrets={"new": 1}, listeners={"web": 1}, routes={"web": 1, "other": 1})
    for response in await proxy.drain():
        await proxy.ack(response)
    await proxy.ask(SECRET, "old", "new")
    while "new" not in proxy.of(SECRET).held:
        await proxy.ack(await proxy.next(SECRET))
    if kit.variant in ADS:
        await _routes_follow(kit)


async def _routes_follow(kit: Kit):
    proxy = await kit.proxy()
    await proxy.ask(LISTENER)
    await proxy.settle(LISTENER, web=1)
    await proxy.ask(ROUTE, "web", "other")
    await proxy.settle(ROUTE, web=1, other=1)
    await kit.give(secrets={"new": 1}, listeners={"web": 2}, routes={"web": 1, "other": 1})
    assert (await proxy.next(LISTENER)).values == {"web": 2}
    assert (await proxy.next(ROUTE)).values["web"] == 1
