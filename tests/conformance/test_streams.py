"""What a stream is: who opens it, its types and nonces, and what else goes on beside it."""

from tests.conformance.kit import Kit, case
from tests.conformance.variants import ADS, CLUSTER, ENDPOINT, LISTENER, ROUTE


@case(1, "the first request of a stream names the node; later ones need not, and cannot change it")
async def test_case_01(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1, "c": 1})
    await kit.give(f"{kit.node}-other", endpoints={"a": 7, "b": 7, "c": 7})
    proxy = await kit.proxy()
    await proxy.ask(ENDPOINT, "a")
    await proxy.settle(ENDPOINT, a=1)
    await proxy.ask(ENDPOINT, "a", "b")
    await proxy.settle(ENDPOINT, a=1, b=1)
    await proxy.ask(ENDPOINT, "a", "b", "c", node=f"{kit.node}-other")
    await proxy.settle(ENDPOINT, a=1, b=1, c=1)


@case(2, "an empty type_url is refused on ADS (INVALID_ARGUMENT) and implied elsewhere; a node without id is refused")
async def test_case_02(kit: Kit):
    await kit.give(clusters={"a": 1})
    proxy = await kit.proxy()
    await proxy.request(CLUSTER, type_url="")
    if kit.variant.ads:
        assert (await proxy.end(CLUSTER)).startswith("INVALID_ARGUMENT: ")
    else:
        response = await proxy.next(CLUSTER)
        assert (response.type_url, response.values) == (CLUSTER, {"a": 1})
    nobody = await kit.proxy()
    await nobody.request(CLUSTER, node="")
    assert not (await nobody.end(CLUSTER)).startswith("OK")


@case(3, "each type on ADS has its own version, nonce and subscription", *ADS)
async def test_case_03(kit: Kit):
    everything = {"clusters": {"a": 1}, "endpoints": {"a": 1}, "listeners": {"a": 1}, "routes": {"a": 1}}
    await kit.give(**everything)
    proxy = await kit.proxy()
    for type_url, names in ((CLUSTER, ()), (LISTENER, ()), (ENDPOINT, ("a",)), (ROUTE, ("a",))):
        await proxy.ask(type_url, *names)
        await proxy.settle(type_url, a=1)
    await proxy.ask(ENDPOINT)
    await proxy.quiet(empty=True)
    await kit.give(**everything | {"endpoints": {"a": 2}, "routes": {"a": 2}})
    route = await proxy.next(ROUTE)
    assert route.values == {"a": 2}
    cluster = proxy.of(CLUSTER)
    await proxy.nack(route, "bad route")
    await proxy.quiet()
    await kit.give(**everything | {"clusters": {"a": 2}, "routes": {"a": 2}})
    response = await proxy.next(CLUSTER)
    assert (response.values, response.nonce != cluster.nonce) == ({"a": 2}, True)
    await proxy.ack(response)
    if kit.has("record", "which type a NACK is about"):
        await kit.answered(CLUSTER, None, None)
        await kit.answered(ROUTE, None, "bad route")


@case(4, "nonces are unique on a stream, and mean nothing on another")
async def test_case_04(kit: Kit):
    await kit.give(endpoints={"a": 1, "b": 1})
    first, second = await kit.proxy(), await kit.proxy()
    await first.ask(ENDPOINT, "a")
    await first.settle(ENDPOINT, a=1)
    for value in (2, 3, 4):
        await kit.give(endpoints={"a": value, "b": 1})
        await first.settle(ENDPOINT, a=value)
    nonces = [response.nonce for response in first.log]
    assert (len(nonces), all(nonces)) == (len(set(nonces)), True)
    await second.ask(ENDPOINT, "a")
    response = await second.next(ENDPOINT)
    if kit.variant.delta:
        await second.request(ENDPOINT, response_nonce=nonces[-1], error_detail={"message": "of another stream"})
    else:
        names = {"resource_names": ["a", "b"], "version_info": response.version}
        await second.request(ENDPOINT, response_nonce=nonces[-1], **names)
    await second.quiet()
    await second.ack(response)
    await second.ask(ENDPOINT, "a", "b")
    await second.settle(ENDPOINT, a=4, b=1)
    if kit.has("record", "that a foreign nonce answers nothing"):
        assert set(await kit.answers(ENDPOINT)) == {None}


@case(43, "no name is twice in a response, however often it was asked for")
async def test_case_43(kit: Kit):
    await kit.give(clusters={"a": 1, "b": 1}, endpoints={"a": 1, "b": 1})
    proxy = await kit.proxy()
    field = "resource_names_subscribe" if kit.variant.delta else "resource_names"
    await proxy.request(CLUSTER, **{field: ["*", "a", "a", "b"]})
    assert (await proxy.next(CLUSTER)).names == ["a", "b"]
    await proxy.request(ENDPOINT, **{field: ["b", "a", "b", "a"]})
    assert (await proxy.next(ENDPOINT)).names == ["a", "b"]


@case(46, "an xdstp:// name is served like any other; a glob collection is given on request alone, or refused cleanly")
async def test_case_46(kit: Kit):
    one, glob = ("xdstp://mesh/envoy.config.endpoint.v3.ClusterLoadAssignment/" + end for end in ("eu/a", "eu/*"))
    await kit.give(endpoints={one: 1, "a": 1, "other": 1})
    proxy, other = await kit.proxy(), await kit.proxy()
    await proxy.ask(ENDPOINT, one)
    await proxy.settle(ENDPOINT, **{one: 1})
    await other.ask(ENDPOINT, "a", glob)
    try:
        answer = (await other.next(ENDPOINT)).values
    except AssertionError:
        status = (await other.end(ENDPOINT)).partition(":")[0]
        assert status in {"INVALID_ARGUMENT", "UNIMPLEMENTED"}, "neither answered nor refused"
    else:
        assert answer in ({"a": 1}, {"a": 1, one: 1})
    await kit.give(endpoints={one: 2, "a": 1, "other": 1})
    await proxy.settle(ENDPOINT, **{one: 2})


@case(
    47, "a node id on two streams (a restart's overlap): both are served, and the old one's end costs the new nothing"
)
async def test_case_47(kit: Kit):
    await kit.give(clusters={"a": 1})
    old, new = await kit.proxy(), await kit.proxy()
    for proxy in (old, new):
        await proxy.ask(CLUSTER)
        await proxy.settle(CLUSTER, a=1)
    await kit.give(clusters={"a": 2})
    await old.settle(CLUSTER, a=2)
    await new.settle(CLUSTER, a=2)
    old.leave()
    await new.quiet()
    await kit.give(clusters={"a": 3})
    await new.settle(CLUSTER, a=3)
