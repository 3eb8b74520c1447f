"""State of the world. Numbers are those of the conformance cases: what a strict server must do."""

import pytest

from tests.xds_server.protocol.client import snapshot
from tests.xds_server.protocol.sotw_client import SotwClient
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.types import (
    Acked,
    LimitExceeded,
    Limits,
    Nacked,
    SotwRequest,
    Stale,
    Subscribed,
    TooLarge,
    UnknownType,
)
from xds_server.snapshot import CLUSTER, ENDPOINT, Resource, Snapshot


def started(specs: str, *asks: str, limits: Limits | None = None) -> SotwClient:
    """A client that has all of these: `c` (wildcard) or `e+a+b`."""
    client = SotwClient.on(specs, limits)
    for ask in asks:
        client.ask(ask[0], *(name for name in ask[2:].split("+") if name))
    client.settle()
    assert client.stream.synced
    return client


def test_3_4_each_type_has_its_own_state_and_nonces_are_unique():
    client = SotwClient.on("c:a e:a")
    assert client.ask("c") == ["c a=1"]
    assert client.ask("e", "a") == ["e a=1"]
    assert [send.nonce for send in client.waiting] == ["1", "2"]
    assert client.ack("c") == (Acked(CLUSTER, "1", ("a",)),)
    assert client.stream.synced is False
    assert client.ack("e") == (Acked(ENDPOINT, "2", ("a",)),)
    assert client.read() == []
    assert client.stream.synced


def test_5_an_ack_gives_no_response():
    client = SotwClient.on("c:a")
    client.ask("c")
    client.ack()
    assert client.read() == []
    assert client.request("c") == ()
    assert client.read() == []


def test_6_an_error_is_a_nack_whatever_the_version():
    client = SotwClient.on("c:a")
    client.ask("c")
    (send,) = client.waiting
    client.versions["c"] = send.version
    assert client.nack(error="") == (Nacked(CLUSTER, "1", ("a",), ""),)
    assert client.stream.nacks == {CLUSTER: ""}


def test_7_8_a_nack_gives_nothing_until_something_changes():
    client = started("c:a", "c")
    assert client.publish("c:a=bad") == ["c a=bad"]
    client.nack()
    assert client.read() == []
    assert client.publish("c:a=bad") == []
    assert client.publish("c:a=good") == ["c a=good"]
    assert client.stream.nacks == {CLUSTER: "no"}
    client.settle()
    assert client.stream.synced


def test_7_of_a_type_that_comes_in_parts_only_what_changed_goes_after_a_nack():
    client = started("e:a e:b e:other", "e+a+b+other")
    assert client.publish("e:a=2 e:b=bad e:other") == ["e a=2 b=bad"]
    client.nack()
    assert client.publish("e:a=2 e:b=bad e:other=2") == ["e other=2"]
    assert client.publish("e:a=2 e:b=good e:other=2") == ["e b=good", "e a=2"]


def test_9_a_nack_that_changes_names_is_honoured():
    client = SotwClient.on("e:a e:b")
    client.ask("e", "a")
    client.names["e"] = ("a", "b")
    assert client.nack() == (Nacked(ENDPOINT, "1", ("a",), "no"), Subscribed(ENDPOINT, ("b",), (), wildcard=False))
    assert client.read() == ["e b=1"]


def test_10_a_request_with_a_stale_nonce_is_not_answered():
    client = started("e:a e:b", "e+a")
    assert client.request("e", ("a", "b"), nonce="77") == (Stale(ENDPOINT, "77"),)
    assert client.read() == []
    assert client.ask("e", "a", "b") == ["e b=1"]


def test_10_a_stale_error_refuses_nothing():
    client = started("e:a", "e+a")
    assert client.request("e", nonce="77", error="no") == (Stale(ENDPOINT, "77"),)
    assert client.request("e", error="no") == ()
    assert client.stream.nacks == {}


def test_12_an_answer_to_what_a_newer_response_has_overtaken_is_no_nack():
    client = started("c:a", "c")
    client.publish("c:a=2")
    client.publish("c:a=3")
    first, second = client.waiting
    assert client.answer(first) == (Acked(CLUSTER, first.nonce, ("a",)),)
    assert client.read() == []
    assert client.stream.synced is False
    client.answer(second)
    assert client.read() == []
    assert client.stream.synced


def test_12_a_subscription_that_races_a_response_counts_when_it_comes_with_its_nonce():
    client = started("e:a e:b", "e+a")
    client.publish("e:a=2 e:b")
    assert client.request("e", ("a", "b"), nonce="1") == (Stale(ENDPOINT, "1"),)
    assert client.read() == []
    client.ack()
    assert client.read() == ["e b=1"]


def test_an_answer_to_the_newest_is_one_to_all_before_it():
    client = started("c:a", "c")
    client.publish("c:a=2")
    client.publish("c:a=3")
    client.waiting.pop(0)
    client.ack()
    client.read()
    assert client.stream.synced


def test_13_of_several_requests_the_newest_is_answered():
    client = SotwClient.on("e:a e:b e:d")
    client.request("e", ("a",))
    client.request("e", ("a", "b"))
    client.request("e", ("b", "d"))
    assert client.read() == ["e b=1 d=1"]


def test_14_clusters_and_listeners_come_whole_and_absence_removes():
    client = started("c:a c:b l:x", "c", "l")
    assert client.publish("c:a c:b=2 l:x l:y") == ["c a=1 b=2"]
    assert client.settle() == ["l x=1 y=1"]
    assert client.publish("c:b=2 l:x l:y") == ["c b=2"]
    client.settle()
    assert client.publish("") == ["l", "c"]
    client.settle()
    assert client.stream.synced


def test_14_what_is_removed_stays_until_nothing_in_the_making_may_refer_to_it():
    client = started("c:old e:old l:in r:web", "c", "l", "r+web", "e+old")
    assert client.publish("c:new e:new l:in r:web=2") == ["c new=1 old=1"]
    client.ack()
    assert client.read() == ["r web=2"]
    client.ack()
    assert client.read() == ["c new=1"]


def test_14_a_removal_with_nothing_that_refers_to_it_is_one_response():
    client = started("c:a c:b", "c")
    assert client.publish("c:b c:d") == ["c b=1 d=1"]


def test_15_other_types_come_in_part_and_nothing_is_said_of_removals():
    client = started("e:a e:b", "e+a+b+nobody")
    assert client.publish("e:a e:b=2") == ["e b=2"]
    client.settle()
    assert client.publish("e:a") == []
    assert client.stream.acknowledged
    assert client.publish("e:a e:b=2") == ["e b=2"]


@pytest.mark.parametrize("letter", ["c", "l"])
def test_16_an_empty_first_request_is_the_legacy_wildcard_and_stays_it(letter):
    client = SotwClient.on(f"{letter}:a {letter}:b")
    assert client.ask(letter) == [f"{letter} a=1 b=1"]
    client.settle()
    assert client.ask(letter) == []
    assert client.publish(f"{letter}:a {letter}:b {letter}:d") == [f"{letter} a=1 b=1 d=1"]


def test_17_18_19_a_name_beside_the_wildcard_then_the_name_alone_then_nothing():
    client = started("c:a c:b", "c")
    assert client.ask("c", "*", "a") == []
    assert client.publish("c:a c:b=2") == ["c a=1 b=2"]
    client.settle()
    assert client.ask("c", "a") == []
    assert client.publish("c:a c:b=3") == []
    assert client.publish("c:a=2 c:b=3") == ["c a=2"]
    client.settle()
    assert client.ask("c") == []
    assert client.publish("c:a=3 c:b=4") == []


def test_17_a_name_beside_the_wildcard_that_does_not_exist_is_answered():
    client = started("c:a", "c")
    assert client.ask("c", "*", "nobody") == ["c a=1"]
    client.settle()
    assert client.publish("c:a c:nobody") == ["c a=1 nobody=1"]


def test_a_name_that_gives_way_to_the_wildcard_is_not_answered_for_ever():
    client = SotwClient.on()
    client.request("c", ("nobody",))
    assert client.ask("c", "*") == ["c"]
    assert client.read() == []


def test_the_wildcard_after_names_brings_all():
    client = started("c:a c:b", "c+a")
    assert client.ask("c", "*") == ["c a=1 b=1"]


@pytest.mark.parametrize("letter", ["e", "r", "s"])
def test_21_an_empty_first_request_of_other_types_asks_for_nothing(letter):
    client = SotwClient.on(f"{letter}:a")
    assert client.ask(letter) == []
    assert client.publish(f"{letter}:a=2") == []


def test_22_23_24_names_grow_shrink_and_come_back():
    client = started("e:a e:b", "e+a")
    version = client.versions["e"]
    assert client.ask("e", "a", "b") == ["e b=1"]
    client.settle()
    assert client.versions["e"] == version
    assert client.ask("e", "a") == []
    assert client.publish("e:a e:b=2") == []
    assert client.ask("e", "a", "b") == ["e b=2"]


def test_25_the_same_names_again_are_not_answered():
    client = started("e:a", "e+a")
    assert client.ask("e", "a") == []
    assert client.ask("e", "a", "a") == []


def test_28_42_unknown_names_hold_up_nobody_and_are_pushed_when_they_come():
    client = SotwClient.on("e:a")
    assert client.ask("e", "a", "nobody") == ["e a=1"]
    client.settle()
    assert client.publish("e:a e:nobody") == ["e nobody=1"]


def test_28_absence_of_a_named_listener_is_said_at_once():
    client = SotwClient.on("l:a")
    assert client.ask("l", "nobody") == ["l"]
    client.settle()
    assert client.publish("l:a l:nobody") == ["l nobody=1"]


def test_34_a_reconnect_with_the_present_version_of_a_wildcard_is_not_answered_and_one_with_names_is():
    before = started("c:a c:b e:a", "c", "e+a")
    client = SotwClient.on("c:b c:a e:a")
    client.versions = dict(before.versions)
    assert client.ask("c") == []
    assert client.ask("e", "a") == ["e a=1"]
    client.settle()
    assert client.stream.synced
    assert client.publish("c:b e:a") == ["c b=1"]


def test_34_a_reconnect_with_an_old_version_is_answered():
    client = SotwClient.on("c:a c:b")
    client.versions["c"] = started("c:a", "c").versions["c"]
    assert client.ask("c") == ["c a=1 b=1"]
    named = SotwClient.on("c:a c:b")
    named.versions["c"] = started("c:a c:b", "c").versions["c"]
    assert named.ask("c", "a") == ["c a=1"]


def test_35_versions_name_the_content_alone():
    one, other = started("c:a c:b", "c"), started("c:b c:a", "c")
    assert one.versions == other.versions
    one.publish("c:a=2 c:b")
    one.settle()
    assert one.versions != other.versions
    one.publish("c:a c:b")
    one.settle()
    assert one.versions == other.versions


def test_36_a_changed_cluster_is_followed_by_its_unchanged_endpoints_without_an_ack():
    client = started("c:a c:b e:a e:b", "c", "e+a+b")
    assert client.publish("c:a=2 c:b e:a e:b") == ["c a=2 b=1", "e a=1"]


def test_37_clusters_of_a_first_response_are_followed_by_endpoints():
    client = SotwClient.on("c:a e:a")
    client.request("e", ("a",))
    client.read()
    assert client.ask("c") == ["c a=1", "e a=1"]


def test_38_a_second_cluster_change_goes_while_the_first_is_warming():
    client = started("c:a c:b e:a e:b", "c", "e+a+b")
    client.publish("c:a=2 c:b e:a e:b")
    client.ack("e")
    assert client.publish("c:a=2 c:b=2 e:a e:b") == ["c a=2 b=2", "e b=1"]
    client.ack()
    client.read()
    assert client.stream.synced


def test_41_a_listener_waits_for_the_clusters_before_it():
    client = started("c:a l:in", "c", "l")
    assert client.publish("c:a c:b l:in=2") == ["c a=1 b=1"]
    client.ack()
    assert client.read() == ["l in=2"]


def test_41_a_listener_that_goes_takes_no_new_one_past_its_clusters():
    client = started("c:a l:old", "c", "l")
    assert client.publish("c:a c:b l:new") == ["c a=1 b=1"]
    client.ack()
    assert client.read() == ["l new=1"]


def test_44_what_has_to_come_whole_and_is_too_large_ends_the_stream():
    stream = SotwStream(Limits(whole_bytes=2500))
    stream.update(Snapshot.of(Resource.of(CLUSTER, f"c{n}", bytes(1000)) for n in range(5)))
    stream.receive(SotwRequest(CLUSTER))
    with pytest.raises(TooLarge, match="use the delta variant"):
        stream.flush()


def test_44_other_types_are_split():
    stream = SotwStream(Limits(response_bytes=2500))
    stream.update(Snapshot.of(Resource.of(ENDPOINT, f"e{n}", bytes(1000)) for n in range(5)))
    stream.receive(SotwRequest(ENDPOINT, tuple(f"e{n}" for n in range(5))))
    assert [len(send.resources) for send in stream.flush()] == [2, 2, 1]


def test_48_a_client_that_answers_nothing_is_sent_no_more_until_it_does():
    client = started("e:a", "e+a", limits=Limits(unanswered=2))
    assert [client.publish(f"e:a={n}") for n in range(2, 6)] == [["e a=2"], ["e a=3"], [], []]
    client.ack()
    assert client.read() == ["e a=5"]


def test_51_a_client_that_asks_for_too_much_is_refused():
    client = SotwClient.on("e:a", Limits(names=3, types=1))
    with pytest.raises(LimitExceeded, match="4 resource names"):
        client.request("e", ("a", "b", "c", "d"))
    client.request("e", ("a", "b"))
    client.request("e", ("b", "c"))
    with pytest.raises(LimitExceeded, match="more than 1 types"):
        client.request("c")
    with pytest.raises(UnknownType):
        client.stream.receive(SotwRequest("type.googleapis.com/unknown"))


def test_53_an_empty_wildcard_is_answered_at_once_by_nothing():
    client = SotwClient.on()
    assert client.ask("c") == ["c"]
    assert client.ask("l") == ["l"]
    client.settle()
    assert client.publish("e:a") == []


def test_53_nothing_is_said_before_the_first_snapshot():
    client = SotwClient(SotwStream())
    assert client.ask("c") == []
    client.stream.update(snapshot())
    assert client.read() == ["c"]


def test_a_stream_says_what_its_client_wants_and_has_not_answered() -> None:
    client = SotwClient(SotwStream())
    assert client.stream.subscribed(CLUSTER) == frozenset()
    client.request("c")
    assert client.stream.subscribed(CLUSTER) == frozenset()
    client.stream.update(snapshot("c:a c:b e:a"))
    client.ask("e", "a", "nobody")
    assert client.stream.subscribed(CLUSTER) == {"a", "b"}
    assert client.stream.subscribed(ENDPOINT) == {"a", "nobody"}
    assert client.stream.unanswered == (CLUSTER, ENDPOINT)
    client.settle()
    assert not client.stream.unanswered
