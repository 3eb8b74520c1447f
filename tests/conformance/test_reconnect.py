"""A client that comes back, to the same server or to another, and says what it holds."""

from tests.conformance.kit import Kit, case
from tests.conformance.variants import ADS, CLUSTER, DELTA, ENDPOINT, ROUTE, SECRET, SOTW


async def _come_back(kit: Kit, old, *types: str, address: str = ""):
    """A new connection of the same client, which holds what it held."""
    old.leave()
    new = await kit.proxy(address=address)
    for type_url in types:
        new.hold(old, type_url)
    return new


@case(32, "delta: a client that says what it holds gets what differs, and the removal of what is gone", *DELTA)
async def test_case_32(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1, "c": 1}, endpoints={"a": 1, "b": 1})
    old = await kit.proxy()
    await old.ask(CLUSTER)
    await old.settle(CLUSTER, a=1, b=1, c=1)
    await old.ask(ENDPOINT, "a", "b")
    await old.settle(ENDPOINT, a=1, b=1)
    await kit.give(clusters={"a": 1, "b": 2, "d": 1}, endpoints={"a": 1})
    new = await _come_back(kit, old, CLUSTER, ENDPOINT)
    await new.return_with(CLUSTER)
    await new.settle(CLUSTER, a=1, b=2, d=1)
    assert [name for response in new.log for name in response.names].count("a") == 0
    await new.return_with(ENDPOINT, "a", "b")
    await new.settle(ENDPOINT, a=1)


@case(33, "delta: names that are subscribed to and not said to be held are sent", *DELTA)
async def test_case_33(kit: Kit):
    await kit.give(clusters={"a": 1}, endpoints={"a": 1, "b": 1})
    old = await kit.proxy()
    await old.ask(CLUSTER)
    await old.settle(CLUSTER, a=1)
    await old.ask(ENDPOINT, "a")
    await old.settle(ENDPOINT, a=1)
    new = await _come_back(kit, old, CLUSTER, ENDPOINT)
    await new.return_with(CLUSTER)
    await new.quiet(empty=True)
    await new.return_with(ENDPOINT, "a", "b")
    response = await new.next(ENDPOINT)
    assert response.values == {"b": 1}
    await new.ack(response)
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    await new.settle(CLUSTER, a=1, b=1)


@case(
    34,
    "state of the world: a client that comes back with the present version gets its endpoints, routes and secrets",
    *SOTW,
)
async def test_case_34(kit: Kit):
    await kit.give(endpoints={"a": 1}, routes={"a": 1}, secrets={"a": 1})
    old = await kit.proxy()
    for type_url in (ENDPOINT, ROUTE, SECRET):
        await old.ask(type_url, "a")
        await old.settle(type_url, a=1)
    new = await _come_back(kit, old, ENDPOINT, ROUTE, SECRET)
    for type_url in (ENDPOINT, ROUTE, SECRET):
        await new.return_with(type_url, "a")
        assert (await new.next(type_url)).values == {"a": 1}


@case(35, "another replica with equal content has equal versions: nothing is sent again", needs=("replica",))
async def test_case_35(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    old = await kit.proxy()
    await old.ask(CLUSTER)
    await old.settle(CLUSTER, a=1, b=1)
    await old.ask(ENDPOINT, "a", "b")
    await old.settle(ENDPOINT, a=1, b=1)
    new = await _come_back(kit, old, CLUSTER, ENDPOINT, address=await kit.replica())
    await new.return_with(CLUSTER)
    await new.return_with(ENDPOINT, "a", "b")
    if kit.variant.delta:
        await new.quiet(empty=True)
        return
    response = await new.next(ENDPOINT)
    assert (response.version, response.values) == (old.of(ENDPOINT).version, {"a": 1, "b": 1})
    for response in await new.drain():
        assert response.version == old.of(response.type_url).version


@case(37, "clusters that are sent to a client that came back bring their endpoints, held or not", *ADS)
async def test_case_37(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    old = await kit.proxy()
    await old.ask(CLUSTER)
    await old.settle(CLUSTER, a=1, b=1)
    await old.ask(ENDPOINT, "a", "b")
    await old.settle(ENDPOINT, a=1, b=1)
    await kit.give(clusters={"a": 2, "b": 1}, endpoints={"a": 1, "b": 1})
    new = await _come_back(kit, old, CLUSTER, ENDPOINT)
    await new.return_with(CLUSTER)
    await new.return_with(ENDPOINT, "a", "b")
    assert (await new.next(CLUSTER)).values["a"] == 2
    assert (await new.next(ENDPOINT)).values["a"] == 1
