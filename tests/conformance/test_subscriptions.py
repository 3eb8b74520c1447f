"""Which names a client wants: wildcards, names that come and go, names that there are not."""

import pytest

from tests.conformance.kit import Kit, case
from tests.conformance.variants import CLUSTER, DELTA, ENDPOINT, LISTENER, ROUTE, SECRET, SOTW

WILDCARDS = {CLUSTER: "clusters", LISTENER: "listeners"}
NAMED = {ENDPOINT: "endpoints", ROUTE: "routes", SECRET: "secrets"}


@case(16, "a first request without names is a wildcard")
@pytest.mark.parametrize("type_url", WILDCARDS, ids=WILDCARDS.get)
async def test_case_16(kit: Kit, type_url):
    kind = WILDCARDS[type_url]
    await kit.give(**{kind: {"a": 1, "b": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url)
    await proxy.settle(type_url, a=1, b=1)
    await kit.give(**{kind: {"a": 1, "b": 1, "c": 1}})
    await proxy.settle(type_url, a=1, b=1, c=1)
    await proxy.quiet()


async def _wildcard_and_a(kit: Kit):
    """A client that began with the wildcard without names, and then named it, and `a` beside it."""
    await kit.give(clusters={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1, b=1)
    await proxy.ask(CLUSTER, "*", "a")
    for response in await proxy.drain():
        await proxy.ack(response)
    await kit.give(clusters={"a": 1, "b": 1, "c": 1})
    await proxy.settle(CLUSTER, a=1, b=1, c=1)
    return proxy


@case(17, "state of the world: after a wildcard, `*` and a name keep the wildcard", *SOTW)
async def test_case_17(kit: Kit):
    proxy = await _wildcard_and_a(kit)
    await kit.give(clusters={"a": 2, "c": 1})
    await proxy.settle(CLUSTER, a=2, c=1)


async def _a_alone(kit: Kit):
    """The same client, that then drops the wildcard and keeps `a`."""
    proxy = await _wildcard_and_a(kit)
    await proxy.ask(CLUSTER, "a")
    for response in await proxy.drain():
        assert set(response.values) <= {"a"}
        await proxy.ack(response)
    return proxy


@case(18, "state of the world: then the name alone drops the wildcard, and keeps the name", *SOTW)
async def test_case_18(kit: Kit):
    proxy = await _a_alone(kit)
    await kit.give(clusters={"a": 1, "b": 2, "c": 2})
    await proxy.quiet()
    await kit.give(clusters={"a": 2, "b": 2, "c": 2})
    response = await proxy.next(CLUSTER)
    assert response.values == {"a": 2}


@case(19, "state of the world: then no name at all is nothing, and not a wildcard again", *SOTW)
async def test_case_19(kit: Kit):
    proxy = await _a_alone(kit)
    await proxy.ask(CLUSTER)
    await proxy.quiet(empty=True)
    await kit.give(clusters={"a": 2, "b": 2, "d": 1})
    await proxy.quiet(empty=True)


@case(20, "delta: the same steps, by subscribe and unsubscribe", *DELTA)
async def test_case_20(kit: Kit):
    proxy = await _a_alone(kit)
    await kit.give(clusters={"a": 1, "b": 2, "c": 2})
    await proxy.quiet()
    await kit.give(clusters={"a": 2, "b": 2, "c": 2})
    await proxy.settle(CLUSTER, a=2)
    await proxy.ask(CLUSTER)
    await proxy.quiet(empty=True)
    await kit.give(clusters={"a": 3, "b": 3, "d": 1})
    await proxy.quiet()


@case(21, "a first request without names for endpoints, routes or secrets gives none")
@pytest.mark.parametrize("type_url", NAMED, ids=NAMED.get)
async def test_case_21(kit: Kit, type_url):
    await kit.give(**{NAMED[type_url]: {"a": 1, "b": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url)
    await proxy.quiet(empty=True)
    await proxy.ask(type_url, "a")
    await proxy.settle(type_url, a=1)


@case(22, "names grow: the new one is sent although nothing has changed")
@pytest.mark.parametrize("type_url", NAMED, ids=NAMED.get)
async def test_case_22(kit: Kit, type_url):
    await kit.give(**{NAMED[type_url]: {"a": 1, "b": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url, "a")
    await proxy.settle(type_url, a=1)
    await proxy.ask(type_url, "a", "b")
    await proxy.settle(type_url, a=1, b=1)
    await proxy.quiet()


@case(23, "names shrink: no answer, and nothing more of what was dropped")
async def test_case_23(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=1, b=1)
    await proxy.ask(ENDPOINT, "a")
    await proxy.quiet()
    await kit.give(endpoints={"a": 1, "b": 2})
    await proxy.quiet()
    await kit.give(endpoints={"a": 2, "b": 2})
    response = await proxy.next(ENDPOINT)
    assert response.values == {"a": 2}


@case(24, "a name that was dropped and is asked for again is sent again, unchanged as it is")
async def test_case_24(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=1, b=1)
    await proxy.ask(ENDPOINT, "a")
    await proxy.quiet()
    await proxy.ask(ENDPOINT, "a", "b")
    assert (await proxy.next(ENDPOINT)).values["b"] == 1


@case(25, "delta: a name that is held and subscribed to again is sent again", *DELTA)
async def test_case_25(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=1, b=1)
    await proxy.request(ENDPOINT, resource_names_subscribe=["a"])
    response = await proxy.next(ENDPOINT)
    assert response.values == {"a": 1}
    await proxy.ack(response)
    await proxy.quiet()


@case(26, "delta: to unsubscribe from a name that was never subscribed to changes nothing", *DELTA)
async def test_case_26(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a")
    await proxy.settle(ENDPOINT, a=1)
    await proxy.request(ENDPOINT, resource_names_unsubscribe=["b", "ghost"])
    await proxy.quiet()
    await kit.give(endpoints={"a": 2, "b": 2})
    await proxy.settle(ENDPOINT, a=2)


@case(27, "delta: to unsubscribe from a name under a wildcard is answered, by the resource or its removal", *DELTA)
async def test_case_27(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER, "*", "a")
    await proxy.settle(CLUSTER, a=1, b=1)
    await proxy.request(CLUSTER, resource_names_unsubscribe=["a"])
    response = await proxy.next(CLUSTER)
    assert response.names == ["a"]
    await proxy.ack(response)
    await kit.give(clusters={"a": 2, "b": 1})
    await proxy.settle(CLUSTER, a=2, b=1)


@case(28, "delta: a name that there is not is said to be so, at once and once", *DELTA)
async def test_case_28(kit: Kit):
    await kit.give(endpoints={"a": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a", "ghost")
    missing: set[str] = set()
    while proxy.of(ENDPOINT).held != {"a": 1} or not missing:
        response = await proxy.next(ENDPOINT)
        missing |= {*response.removed, *response.errors}
        await proxy.ack(response)
    assert missing == {"ghost"}
    await proxy.quiet()
    back = await kit.proxy()
    back.hold(proxy, ENDPOINT)
    await back.return_with(ENDPOINT, "a", "ghost")
    response = await back.next(ENDPOINT)
    assert (response.values, {*response.removed, *response.errors}) == ({}, {"ghost"})


@case(29, "what comes to be later is pushed without another request")
@pytest.mark.parametrize("type_url", NAMED, ids=NAMED.get)
async def test_case_29(kit: Kit, type_url):
    kind = NAMED[type_url]
    await kit.give(**{kind: {"a": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url, "a", "later")
    await proxy.settle(type_url, a=1)
    for response in await proxy.drain():
        await proxy.ack(response)
    await kit.give(**{kind: {"a": 1, "later": 1}})
    await proxy.settle(type_url, a=1, later=1)


@case(42, "names that there are not do not keep back those that there are")
@pytest.mark.parametrize("type_url", NAMED, ids=NAMED.get)
async def test_case_42(kit: Kit, type_url):
    await kit.give(**{NAMED[type_url]: {"a": 1, "b": 1, "c": 1}})
    proxy = await kit.proxy()
    await proxy.ask(type_url, "ghost", "a")
    await proxy.settle(type_url, a=1)


@case(53, "a wildcard of which there is nothing is answered at once, by an empty response")
@pytest.mark.parametrize("type_url", WILDCARDS, ids=WILDCARDS.get)
async def test_case_53(kit: Kit, type_url):
    kind = WILDCARDS[type_url]
    await kit.give(secrets={"other": 1})
    proxy = await kit.proxy()
    await proxy.ask(type_url)
    response = await proxy.next(type_url)
    assert response.names == []
    await proxy.ack(response)
    await proxy.quiet()
    await kit.give(**{kind: {"a": 1}})
    await proxy.settle(type_url, a=1)
