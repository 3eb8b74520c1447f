"""ACKs, NACKs and stale answers."""

from tests.conformance.kit import Kit, case
from tests.conformance.variants import CLUSTER, DELTA, ENDPOINT, SOTW


@case(5, "an ACK changes what is on record and is not answered")
async def test_case_05(kit: Kit):
    await kit.give(clusters={"a": 1}, endpoints={"a": 1})
    proxy = await kit.proxy()
    for type_url, names in ((CLUSTER, ()), (ENDPOINT, ("a",))):
        await proxy.ask(type_url, *names)
        await proxy.ack(await proxy.next(type_url))
    await proxy.quiet()
    if kit.has("record", "the ACK"):
        await kit.answered(CLUSTER, None)
        await kit.answered(ENDPOINT, None)


@case(6, "a NACK is a request with error_detail, whatever version it bears", needs=("record",))
async def test_case_06(kit: Kit):
    await kit.give(endpoints={"a": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a")
    await proxy.settle(ENDPOINT, a=1)
    await kit.give(endpoints={"a": 2})
    response = await proxy.next(ENDPOINT)
    version = {} if kit.variant.delta else {"version_info": response.version}
    await proxy.nack(response, "bad port", **version)
    await kit.answered(ENDPOINT, None, "bad port")
    await kit.give(endpoints={"a": 3})
    response = await proxy.next(ENDPOINT)
    await proxy.nack(response, "", **version)
    await kit.answered(ENDPOINT, None, "bad port", "")
    await proxy.quiet()


@case(7, "a NACK is not answered by the same content; what was ACKed last stays on record as applied")
async def test_case_07(kit: Kit):
    await kit.give(clusters={"a": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1)
    await kit.give(clusters={"a": 2})
    await proxy.nack(await proxy.next(CLUSTER), "bad timeout")
    await proxy.quiet()
    await kit.give(clusters={"a": 2})
    await proxy.quiet()
    if kit.has("record", "what is on record as applied"):
        await kit.answered(CLUSTER, None, "bad timeout")
        assert "bad timeout" in await kit.behind()


@case(8, "after a NACK the mended content is sent; the error is on record until that is ACKed")
async def test_case_08(kit: Kit):
    await kit.give(clusters={"a": 1})
    proxy = await kit.proxy()
    await proxy.ask(CLUSTER)
    await proxy.settle(CLUSTER, a=1)
    await kit.give(clusters={"a": 2})
    await proxy.nack(await proxy.next(CLUSTER), "bad timeout")
    await kit.give(clusters={"a": 3})
    response = await proxy.next(CLUSTER)
    assert response.values == {"a": 3}
    recorded = kit.has("record", "when the error is cleared")
    if recorded:
        assert "bad timeout" in await kit.behind()
    await proxy.ack(response)
    await proxy.quiet()
    if recorded:
        await kit.answered(CLUSTER, None, "bad timeout", None)
        assert await kit.behind() == ""


@case(9, "a NACK that also changes the names: the change is honoured")
async def test_case_09(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a")
    await proxy.settle(ENDPOINT, a=1)
    await kit.give(endpoints={"a": 2, "b": 1})
    names = {"resource_names_subscribe": ["b"]} if kit.variant.delta else {"resource_names": ["a", "b"]}
    await proxy.nack(await proxy.next(ENDPOINT), "bad port", **names)
    assert (await proxy.next(ENDPOINT)).values["b"] == 1


@case(10, "state of the world: a request with a stale nonce is not answered", *SOTW)
async def test_case_10(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a")
    await proxy.settle(ENDPOINT, a=1)
    await kit.give(endpoints={"a": 2, "b": 1})
    response = await proxy.next(ENDPOINT)
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.quiet()
    await proxy.ack(response)
    assert (await proxy.next(ENDPOINT)).values["b"] == 1


@case(11, "delta: what a request with a stale nonce subscribes to counts all the same", *DELTA)
async def test_case_11(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1, "c": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a", "c")
    await proxy.settle(ENDPOINT, a=1, c=1)
    stale = proxy.of(ENDPOINT).nonce
    change = {"resource_names_subscribe": ["b"], "resource_names_unsubscribe": ["c"]}
    await proxy.request(ENDPOINT, response_nonce=stale, **change)
    response = await proxy.next(ENDPOINT)
    assert response.values == {"b": 1}
    await proxy.ack(response)
    await kit.give(endpoints={"a": 1, "b": 1, "c": 2})
    await proxy.quiet()


@case(12, "state of the world: a request that crosses a push, with the version before, is no NACK", *SOTW)
async def test_case_12(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a")
    await proxy.settle(ENDPOINT, a=1)
    await kit.give(endpoints={"a": 2, "b": 1})
    response = await proxy.next(ENDPOINT)
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.ack(response)
    await proxy.settle(ENDPOINT, a=2, b=1)
    if kit.has("record", "that none is on record"):
        await kit.answered(ENDPOINT, None, None, None)
        assert await kit.behind() == ""


@case(13, "of several requests of a type that wait, only the newest needs an answer")
async def test_case_13(kit: Kit):
    names = [f"n{i}" for i in range(20)]
    await kit.give(endpoints=dict.fromkeys(names, 1))
    proxy = await kit.proxy()
    for some in range(1, len(names)):
        await proxy.ask(ENDPOINT, *names[:some])
    await proxy.ask(ENDPOINT, names[0], names[-1])
    await proxy.settle(ENDPOINT, **{names[0]: 1, names[-1]: 1})
    assert len(proxy.log) <= len(names)
    seen = len(proxy.log)
    await proxy.drain()
    assert len(proxy.log) - seen <= len(names)
    await kit.give(endpoints=dict.fromkeys(names, 2))
    await proxy.settle(ENDPOINT, **{names[0]: 2, names[-1]: 2})
