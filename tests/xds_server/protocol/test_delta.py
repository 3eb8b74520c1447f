"""Numbers are those of the conformance cases: what a strict delta server must do."""

from tests.xds_server.protocol.client import SHORT, Client, resource, snapshot
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.types import Acked, DeltaRequest, Limits, Nacked, Stale, Subscribed
from xds_server.snapshot import CLUSTER, ENDPOINT, Resource


def started(specs: str, *asks: str, limits: Limits | None = None) -> Client:
    """A client that has all of these: `c` (wildcard) or `e+a+b`."""
    client = Client.on(specs, limits)
    for ask in asks:
        client.ask(ask[0], *(f"+{name}" for name in ask[2:].split("+") if name))
    client.settle()
    assert client.stream.synced
    return client


def test_3_each_type_has_its_own_state():
    client = Client.on("c:a e:a")
    client.ask("c")
    client.ask("e", "+a")
    client.ack("c")
    assert client.stream.synced is False
    assert client.request("c", nonce="2") == (Stale(CLUSTER, "2"),)
    assert client.ack("e") == (Acked(ENDPOINT, "2", ("a",)),)
    assert client.stream.synced is False  # it has not been asked whether there is more
    assert client.read() == []
    assert client.stream.synced


def test_4_nonces_are_unique_on_a_stream():
    client = Client.on("c:a e:a")
    client.ask("c")
    client.ask("e", "+a")
    client.publish("c:a=2 e:a=2")
    nonces = [send.nonce for send in client.waiting]
    assert len(nonces) == len(set(nonces)) == 4


def test_5_an_ack_gives_no_response():
    client = Client.on("c:a")
    client.ask("c")
    assert client.ack() == (Acked(CLUSTER, "1", ("a",)),)
    assert client.read() == []
    assert client.stream.synced


def test_6_an_error_is_a_nack_even_when_it_is_empty():
    client = Client.on("c:a c:b")
    client.ask("c")
    assert client.nack(error="") == (Nacked(CLUSTER, "1", ("a", "b"), ""),)
    assert client.stream.nacks == {CLUSTER: ""}
    assert not client.stream.synced


def test_7_a_nack_never_gives_the_same_content_again():
    client = Client.on("c:a")
    client.ask("c")
    client.nack()
    assert client.read() == []
    assert client.publish("c:a") == []
    assert client.publish("c:a c:b") == ["c +b=1"]
    assert client.stream.acknowledged is False
    client.settle()
    assert client.stream.acknowledged is True
    assert client.stream.synced is False


def test_8_a_fixed_version_is_sent_and_only_its_ack_clears_the_error():
    client = started("c:a", "c")
    client.publish("c:a=bad")
    client.nack()
    assert client.publish("c:a=good") == ["c +a=good"]
    assert client.stream.nacks == {CLUSTER: "no"}
    client.settle()
    assert client.stream.nacks == {}
    assert client.stream.synced


def test_8_going_back_to_the_last_good_version_is_a_change_too():
    client = started("c:a=good", "c")
    client.publish("c:a=bad")
    client.nack()
    assert client.publish("c:a=good") == ["c +a=good"]


def test_8_an_ack_of_something_else_clears_no_error():
    client = started("c:a c:b", "c")
    client.publish("c:a=bad c:b")
    client.nack()
    client.publish("c:a=bad c:b=2")
    client.settle()
    assert client.stream.nacks == {CLUSTER: "no"}


def test_8_removing_what_is_refused_clears_its_error():
    client = started("c:a c:b", "c", "e+x")
    client.publish("c:a c:b=bad")
    client.nack()
    assert client.publish("c:a") == ["c -b"]
    client.settle()
    assert client.stream.nacks == {}
    client.publish("c:a e:x=bad")
    client.nack()
    client.ask("e", "-x")
    assert client.stream.nacks == {}


def test_8_the_good_ones_beside_a_refused_one_go_again_when_it_changes():
    client = started("c:a c:b c:bad", "c")
    assert client.publish("c:a=2 c:b=2 c:bad=2") == ["c +a=2 +b=2 +bad=2"]
    client.nack()
    assert client.publish("c:a=2 c:b=2 c:bad=3") == ["c +bad=3", "c +a=2 +b=2"]
    client.settle()
    assert client.stream.synced
    assert client.publish("c:a=2 c:b=2 c:bad=4") == ["c +bad=4"]


def test_7_what_is_refused_again_alone_does_not_go_a_third_time():
    client = started("c:a c:bad", "c")
    client.publish("c:a=2 c:bad=2")
    client.nack()
    assert client.publish("c:a=3 c:bad=2") == ["c +a=3", "c +bad=2"]
    good, bad = client.waiting
    client.request("c", nonce=good.nonce)
    client.request("c", nonce=bad.nonce, error="still no")
    client.waiting.clear()
    assert client.publish("c:a=4 c:bad=2") == ["c +a=4"]
    assert client.stream.nacks == {CLUSTER: "still no"}


def test_8_the_good_ones_go_again_once():
    client = started("c:a c:bad", "c")
    client.publish("c:a=2 c:bad=2")
    client.nack()
    assert client.publish("c:a=2 c:bad=3") == ["c +bad=3", "c +a=2"]
    assert client.publish("c:a=2 c:bad=4") == ["c +bad=4"]


def test_7_a_change_elsewhere_does_not_bring_the_refused_ones_back():
    client = started("c:a c:bad c:other", "c")
    client.publish("c:a=2 c:bad=2 c:other")
    client.nack()
    assert client.publish("c:a=2 c:bad=2 c:other=2") == ["c +other=2"]


def test_a_refused_empty_answer_is_an_error_until_the_next_answer():
    client = Client.on()
    client.ask("c")
    client.nack()
    assert client.read() == []
    client.request("c", ["+x"])
    assert client.stream.nacks == {CLUSTER: "no"}
    client.read()
    client.settle()
    assert client.stream.nacks == {}


def test_a_refused_removal_is_not_repeated():
    client = started("c:a c:b", "c")
    client.publish("c:a")
    client.nack()
    assert client.read() == []
    assert client.stream.nacks == {CLUSTER: "no"}
    assert client.publish("c:a c:b") == ["c +b=1"]
    client.settle()
    assert client.stream.synced


def test_8_a_nack_of_what_is_not_wanted_any_more_is_no_error():
    client = Client.on("c:a=bad")
    client.ask("c")
    client.request("c", ["-*"])
    assert client.nack() == (Nacked(CLUSTER, "1", ("a",), "no"),)
    assert client.stream.nacks == {}
    client.read()
    assert client.stream.synced


def test_9_a_nack_that_changes_names_is_honoured():
    client = Client.on("e:a e:b")
    client.ask("e", "+a")
    effects = client.request("e", ["+b"], nonce="1", error="no")
    assert effects == (Nacked(ENDPOINT, "1", ("a",), "no"), Subscribed(ENDPOINT, ("b",), (), wildcard=False))
    assert client.read() == ["e +b=1"]


def test_11_a_stale_nonce_still_changes_the_subscription():
    client = Client.on("e:a e:b")
    client.ask("e", "+a")
    client.settle()
    effects = client.request("e", ["+b", "-a"], nonce="1")
    assert effects == (Stale(ENDPOINT, "1"), Subscribed(ENDPOINT, ("b",), ("a",), wildcard=False))
    assert client.read() == ["e +b=1"]


def test_11_a_stale_error_refuses_nothing():
    client = started("e:a", "e+a")
    assert client.request("e", nonce="77", error="no") == (Stale(ENDPOINT, "77"),)
    assert client.request("e", error="no") == (Stale(ENDPOINT, ""),)
    assert client.stream.nacks == {}


def test_11_a_nonce_on_a_fresh_stream_is_a_first_request_all_the_same():
    client = Client.on("c:a")
    assert client.ask("c", nonce="9") == ["c +a=1"]


def test_30_only_what_changed_is_sent():
    client = started("c:a c:b", "c")
    assert client.publish("c:a c:b") == []
    assert client.publish("c:a c:b=2") == ["c +b=2"]


def test_31_a_resource_removed_and_made_again_is_sent_although_equal():
    client = started("c:a c:b", "c", "e+x")
    assert client.publish("c:a") == ["c -b"]
    assert client.publish("c:a c:b") == ["c +b=1"]


def test_31_under_a_name_it_is_the_same():
    client = started("e:x", "e+x")
    assert client.publish("") == ["e -x"]
    client.settle()
    assert client.publish("") == []
    assert client.publish("e:x") == ["e +x=1"]


def version(spec: str) -> str:
    return resource(spec).version


def test_32_35_a_reconnect_is_sent_differences_alone():
    client = Client.on("c:same c:changed=2 c:new")
    held = {"same": version("c:same"), "changed": version("c:changed=1"), "gone": "v"}
    assert client.ask("c", held=held) == ["c +changed=2 +new=1", "c -gone"]


def test_35_equal_content_is_not_sent_again_by_another_replica():
    client = Client.on("c:a e:a r:x")
    assert client.ask("c", held={"a": version("c:a")}) == []
    assert client.ask("e", "+a", held={"a": version("e:a")}) == []
    assert client.ask("r", "+x", held={"x": version("r:x")}) == []
    assert client.stream.synced
    assert client.publish("c:a e:a=2 r:x") == ["e +a=2"]


def test_33_names_that_are_not_held_are_sent_on_reconnect():
    client = Client.on("e:a e:b e:other")
    held = {"a": version("e:a"), "gone": "v", "other": "v"}
    assert client.ask("e", "+a", "+b", "+gone", "+nobody", held=held) == ["e +b=1", "e -nobody", "e -gone"]


def test_32_versions_count_in_the_first_request_alone():
    client = Client.on("e:a e:b")
    client.ask("e", "+a")
    assert client.ask("e", "+b", held={"b": version("e:b")}) == ["e +b=1"]


def test_36_a_changed_cluster_is_followed_by_its_unchanged_endpoints_without_an_ack():
    client = started("c:a c:b e:a e:b", "c", "e+a+b")
    assert client.publish("c:a=2 c:b e:a e:b") == ["c +a=2", "e +a=1"]


def test_36_endpoints_that_changed_too_are_sent_once():
    client = started("c:a e:a", "c", "e+a")
    assert client.publish("c:a=2 e:a=2") == ["c +a=2", "e +a=2"]


def test_36_a_cluster_that_asks_for_no_endpoints_is_followed_by_none():
    client = started("c:a e:a", "c")
    assert client.publish("c:a=2 e:a") == ["c +a=2"]
    client.settle()
    assert client.ask("e", "+a") == ["e +a=1"]
    client.settle()
    assert client.read() == []


def test_37_a_cluster_that_changed_before_a_reconnect_is_followed_by_endpoints_that_are_held():
    client = Client.on("c:a=2 c:b e:a e:b")
    assert client.ask("c", held={"a": version("c:a=1"), "b": version("c:b")}) == ["c +a=2"]
    assert client.ask("e", "+a", "+b", held={"a": version("e:a"), "b": version("e:b")}) == ["e +a=1"]


def test_37_clusters_of_a_first_response_are_followed_by_endpoints_that_are_held():
    client = Client.on("c:a e:a")
    assert client.ask("e", "+a", held={"a": version("e:a")}) == []
    assert client.ask("c") == ["c +a=1", "e +a=1"]


def test_38_a_second_cluster_change_goes_while_the_first_is_warming():
    client = started("c:a c:b e:a e:b", "c", "e+a+b")
    client.publish("c:a=2 c:b e:a e:b")
    client.ack("e")
    assert client.publish("c:a=2 c:b=2 e:a e:b") == ["c +b=2", "e +b=1"]
    assert [type(effect) for effect in client.ack()] == [Acked, Acked, Acked]
    client.read()
    assert client.stream.synced


def test_40_an_unchanged_route_is_sent_when_a_listener_asks_for_it():
    client = started("l:in r:web", "l", "r+web")
    assert client.publish("l:in=2 r:web") == ["l +in=2"]
    assert client.ask("r", "+web") == ["r +web=1"]


def test_40_a_secret_that_a_draining_listener_still_asks_for_is_answered():
    client = started("l:in s:old s:new", "l", "s+old")
    client.publish("s:new s:old")
    assert client.ask("s", "+old") == ["s +old=1"]


def test_43_names_asked_twice_are_sent_once():
    client = Client.on("e:a")
    assert client.ask("e", "+a", "+a", "+nobody", "+nobody") == ["e +a=1", "e -nobody"]


def test_48_what_lies_between_two_flushes_is_coalesced():
    client = started("e:a e:b", "e+a+b")
    for n in range(5):
        client.stream.update(snapshot(f"e:a={n} e:b"))
    assert client.publish("e:a=9 e:b") == ["e +a=9"]
    client.settle()
    client.stream.update(snapshot("e:a=7 e:b"))
    assert client.publish("e:a=9 e:b") == []


def test_48_a_client_that_answers_nothing_is_sent_no_more_until_it_does():
    client = started("e:a c:x", "e+a", "c", limits=Limits(unanswered=2))
    sent = [client.publish(f"e:a={n} c:x") for n in range(2, 6)]
    assert sent == [["e +a=2"], ["e +a=3"], [], []]
    assert client.publish("e:a=5 c:x=2") == ["c +x=2"]
    assert client.publish("c:x=2") == []
    client.ack("e")
    assert client.read() == ["e -a"]


def test_44_a_large_response_is_split():
    big = [Resource.of(CLUSTER, f"c{n}", bytes(1000)) for n in range(5)]
    stream = DeltaStream(Limits(response_bytes=2500))
    stream.update(type(snapshot()).of(big))
    stream.receive(DeltaRequest(CLUSTER))
    sends = stream.flush()
    assert [len(send.resources) for send in sends] == [2, 2, 1]
    assert [send.nonce for send in sends] == ["1", "2", "3"]
    assert not stream.synced


def test_synced_needs_a_question_and_a_snapshot():
    client = Client.on("c:a")
    assert client.stream.snapshot == snapshot("c:a")
    client.read()
    assert (client.stream.synced, client.stream.acknowledged) == (False, False)
    client.ask("e")
    assert (client.stream.synced, client.stream.acknowledged) == (True, True)
    client.stream.update(snapshot())
    assert (client.stream.synced, client.stream.acknowledged) == (False, False)


def test_each_type_url_is_told_apart():
    assert len(set(SHORT.values())) == 5
