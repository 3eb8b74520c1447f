"""Case 45, in state of the world: what a client forgets is renewed in time."""

from datetime import timedelta

from tests.xds_server.protocol.sotw_client import SotwClient
from xds_server.snapshot import CLUSTER, ENDPOINT, Resource, Snapshot


def lasting(letter: str = "e", content: bytes = b"1") -> Snapshot:
    type_url = {"e": ENDPOINT, "c": CLUSTER}[letter]
    forgotten = Resource.of(type_url, "a", content, ttl=timedelta(seconds=3))
    return Snapshot.of([forgotten, Resource.of(type_url, "b", b"1")])


def test_45_a_heartbeat_renews_what_has_a_ttl_and_is_no_change():
    client = SotwClient.on()
    client.stream.update(lasting())
    assert client.ask("e", "a", "b") == ["e a=1 b=1"]
    client.settle()
    client.stream.beat()
    assert client.read() == ["e ~a"]
    assert client.waiting[0].version == client.versions["e"]
    client.settle()
    assert client.stream.synced
    assert client.read() == []


def test_45_of_a_type_that_comes_whole_all_is_sent_again():
    client = SotwClient.on()
    client.stream.update(lasting("c"))
    client.ask("c")
    client.settle()
    client.stream.beat()
    assert client.read() == ["c a=1 b=1"]


def test_45_without_its_ttl_the_same_content_is_sent_again_and_beats_no_more():
    client = SotwClient.on()
    client.stream.update(lasting())
    client.ask("e", "a", "b")
    client.settle()
    assert client.publish("e:a e:b") == ["e a=1"]
    client.settle()
    client.stream.beat()
    assert client.read() == []


def test_45_nothing_is_renewed_while_something_newer_is_due():
    client = SotwClient.on()
    client.stream.update(lasting())
    client.ask("e", "a", "b")
    client.settle()
    client.stream.beat()
    client.stream.update(lasting(content=b"2"))
    assert client.read() == ["e a=2", "e ~a"]


def test_45_the_shortest_ttl_of_what_is_asked_for_is_known() -> None:
    client = SotwClient.on()
    client.stream.update(lasting())
    assert client.stream.ttl is None
    client.ask("e", "a")
    assert client.stream.ttl == 3
    client.publish("e:a")
    assert client.stream.ttl is None
