"""What a stream costs at most. Numbers are those of the conformance cases."""

import pytest

from tests.xds_server.protocol.client import Client, resource
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.types import DeltaRequest, LimitExceeded, Limits, UnknownType
from xds_server.snapshot import CLUSTER


def test_51_a_client_that_asks_for_too_much_is_refused_and_nothing_changes():
    client = Client.on("e:a", Limits(names=3, types=2, name_characters=20))
    client.ask("e", "+a", "+b")
    for letter, names in [("e", ["+c", "+d"]), ("e", ["+" + "x" * 20]), ("c", ["+c", "+d"])]:
        with pytest.raises(LimitExceeded, match=r"resource names of .* are taken"):
            client.request(letter, names)
    with pytest.raises(LimitExceeded, match="resource names"):
        client.request("c", held={"a": "1", "b": "1"})
    client.request("c")
    with pytest.raises(LimitExceeded, match="more than 2 types"):
        client.request("l")
    assert client.ask("e", "-b", "+d") == ["c", "e -d"]


def test_51_what_a_wildcard_claims_to_hold_counts_like_names():
    """Over all types of a stream, as each of them is kept."""
    client = Client.on("e:a", Limits(names=3, name_characters=30))
    client.request("c", held={"a": "1", "b": "1"})
    with pytest.raises(LimitExceeded, match="4 resource names"):
        client.request("l", held={"a": "1", "b": "1"})
    with pytest.raises(LimitExceeded, match="characters on one stream"):
        client.request("l", held={"a": "1" * 30})
    client.request("l", held={"a": "1"})
    with pytest.raises(LimitExceeded):
        client.request("e", ["+a"])


@pytest.mark.parametrize("sign", ["+", "-"])
def test_51_a_request_of_too_many_names_is_not_looked_at(sign):
    client = Client.on("e:a", Limits(names=3))
    with pytest.raises(LimitExceeded, match="4 resource names in one request; at most 3 are taken"):
        client.request("e", [f"{sign}{name}" for name in "abcd"])


def test_51_a_name_that_is_subscribed_to_and_held_counts_once():
    client = Client.on("e:a", Limits(names=4))
    assert client.ask("e", "+a", "+b", held={"a": resource("e:a").version, "b": resource("e:b").version}) == ["e -b"]


@pytest.mark.parametrize("type_url", ["type.googleapis.com/unknown", "x" * (4 << 20)])
def test_51_an_unknown_type_is_rejected_by_name_and_not_kept(type_url):
    stream = DeltaStream()
    for _ in range(3):
        with pytest.raises(UnknownType) as rejected:
            stream.receive(DeltaRequest(type_url))
        assert type_url[:100] in str(rejected.value)
        assert len(str(rejected.value)) < 1500
    assert stream._watches == {}
    DeltaStream(Limits(type_urls=frozenset({type_url}))).receive(DeltaRequest(type_url))


def test_51_a_long_error_is_kept_in_part():
    client = Client.on("c:a")
    client.ask("c")
    client.stream.receive(DeltaRequest(CLUSTER, nonce="1", error="x" * 1_000_000))
    assert client.stream.nacks == {CLUSTER: "x" * Limits().error_characters}
