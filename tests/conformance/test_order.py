"""In which order types go, and what does not wait for what."""

import pytest

from tests.conformance.kit import Kit, case
from tests.conformance.variants import ADS, CLUSTER, ENDPOINT, LISTENER, ROUTE


@case(36, "a changed cluster is followed by its endpoints, unchanged as they are, without waiting for its ACK", *ADS)
async def test_case_36(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1, b=1)
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=1, b=1)
    await kit.give(clusters={"a": 2, "b": 1}, endpoints={"a": 1, "b": 1})
    assert (await proxy.next(CLUSTER)).values["a"] == 2
    assert (await proxy.next(ENDPOINT)).values["a"] == 1
    assert [response.type_url for response in proxy.log[-2:]] == [CLUSTER, ENDPOINT]


@case(38, "a second change of clusters is sent while the first one's ACK is out; the ACKs may come together")
async def test_case_38(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1, b=1)
    await kit.give(clusters={"a": 2, "b": 1})
    first = await proxy.next(CLUSTER)
    await kit.give(clusters={"a": 2, "b": 2})
    second = await proxy.next(CLUSTER)
    await proxy.ack(first)
    await proxy.ack(second)
    assert proxy.of(CLUSTER).held == {"a": 2, "b": 2}
    await proxy.quiet()
    if kit.has("record", "that both ACKs count"):
        assert await kit.behind() == ""
        assert (await kit.answers(CLUSTER))[-1] is None


@case(41, "clusters, endpoints, listeners, routes, and what goes goes last", *ADS)
async def test_case_41(kit: Kit):
    def world(name: str) -> dict[str, dict[str, int]]:
        return {kind: {name: 1} for kind in ("clusters", "endpoints", "listeners")} | {"routes": {"r": ord(name)}}

    await kit.give(**world("a"))
    proxy = await kit.proxy()
    for type_url, names in ((CLUSTER, ()), (ENDPOINT, ("a", "b")), (LISTENER, ()), (ROUTE, ("r",))):
        await proxy.ask(type_url, *names)
    expected = {CLUSTER: {"a": 1}, ENDPOINT: {"a": 1}, LISTENER: {"a": 1}, ROUTE: {"r": ord("a")}}
    for type_url, held in expected.items():
        await proxy.settle(type_url, **held)
    await _ack_all(proxy)
    await kit.give(**world("b"))
    new_cluster = await proxy.any()
    assert (new_cluster.type_url, new_cluster.values.get("b")) == (CLUSTER, 1), "no cluster came first"
    await proxy.ack(await proxy.next(ENDPOINT))
    await proxy.quiet()  # what names the new cluster waits until that is in place
    await proxy.ack(new_cluster)
    assert proxy.of(CLUSTER).held.keys() == {"a", "b"}, "the old cluster went before the route that names it"
    told = await _ack_until_gone(proxy)
    order = [_first(told, LISTENER, "b"), _first(told, ROUTE, "r")]
    assert order == sorted(order), "the route came before the listener"
    gone = next(i for i, (_, held) in enumerate(told) if "a" not in held[CLUSTER])
    assert gone > order[1], "the old cluster went before the route that names it"


async def _ack_all(proxy) -> None:
    for response in await proxy.drain():
        await proxy.ack(response)


async def _ack_until_gone(proxy):
    """ACK what comes until the old cluster is gone; each response's names, and what was held after it."""
    told: list = []
    done = {CLUSTER: {"b": 1}, ENDPOINT: {"b": 1}, LISTENER: {"b": 1}, ROUTE: {"r": ord("b")}}
    while any(proxy.of(type_url).held.items() & held.items() != held.items() for type_url, held in done.items()) or (
        "a" in proxy.of(CLUSTER).held
    ):
        response = await proxy.any()
        await proxy.ack(response)
        told.append((response, {t: dict(proxy.of(t).held) for t in (CLUSTER, ENDPOINT, LISTENER, ROUTE)}))
    return told


def _first(told, type_url: str, name: str) -> int:
    """Where a resource was first sent."""
    for at, (response, _) in enumerate(told):
        if response.type_url == type_url and name in response.values:
            return at
    pytest.fail(f"{name} of {type_url.rpartition('.')[2]} was never sent")
