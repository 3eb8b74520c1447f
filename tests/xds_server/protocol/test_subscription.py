"""Numbers are those of the conformance cases: what a strict delta server must do."""

import pytest

from tests.xds_server.protocol.client import Client, snapshot
from xds_server.protocol.subscription import Subscription
from xds_server.protocol.types import Subscribed
from xds_server.snapshot import CLUSTER


@pytest.mark.parametrize("letter", ["c", "l"])
def test_16_an_empty_first_request_is_the_legacy_wildcard(letter):
    client = Client.on(f"{letter}:a {letter}:b")
    assert client.ask(letter) == [f"{letter} +a=1 +b=1"]


def test_16_an_explicit_wildcard_is_one_too():
    client = Client.on("c:a c:b e:x")
    assert client.ask("c", "+*") == ["c +a=1 +b=1"]
    assert client.ask("e", "+*") == ["e +x=1"]


def test_17_a_name_beside_the_wildcard_keeps_the_wildcard():
    client = Client.on("c:a c:b")
    client.ask("c")
    client.settle()
    assert client.ask("c", "+a") == ["c +a=1"]
    client.settle()
    assert client.publish("c:a c:b=2") == ["c +b=2"]


def test_18_dropping_the_wildcard_keeps_the_name():
    client = Client.on("c:a c:b")
    client.ask("c")
    client.ask("c", "+a")
    assert client.ask("c", "-*") == []
    assert client.publish("c:a=2 c:b=2") == ["c +a=2"]


def test_19_20_an_emptied_subscription_is_not_the_wildcard_again():
    client = Client.on("c:a c:b")
    client.ask("c")
    client.ask("c", "+a")
    client.ask("c", "-*")
    assert client.ask("c", "-a") == []
    assert client.ask("c") == []
    assert client.publish("c:a=2 c:b=2 c:d") == []


def test_a_wildcard_that_comes_back_is_answered_in_full():
    client = Client.on("c:a c:b")
    client.ask("c", "+a")
    client.settle()
    assert client.ask("c", "+*") == ["c +b=1"]
    client.ask("c", "-*")
    assert client.ask("c", "+*") == ["c +b=1"]


@pytest.mark.parametrize("letter", ["e", "r", "s"])
def test_21_an_empty_first_request_of_other_types_asks_for_nothing(letter):
    client = Client.on(f"{letter}:a")
    assert client.ask(letter) == []
    assert client.publish(f"{letter}:a=2") == []


def test_22_an_added_name_is_sent_although_nothing_changed():
    client = Client.on("e:a e:b")
    assert client.ask("e", "+a") == ["e +a=1"]
    client.settle()
    assert client.ask("e", "+b") == ["e +b=1"]


def test_23_a_dropped_name_gives_no_response_and_no_later_change():
    client = Client.on("e:a e:b")
    client.ask("e", "+a", "+b")
    client.settle()
    assert client.ask("e", "-b") == []
    assert client.publish("e:a e:b=2") == []
    assert client.publish("e:a") == []


def test_24_a_name_dropped_and_added_again_is_sent_although_unchanged():
    client = Client.on("e:a")
    client.ask("e", "+a")
    client.settle()
    client.ask("e", "-a")
    assert client.ask("e", "+a") == ["e +a=1"]


def test_25_a_name_asked_again_is_sent_again():
    client = Client.on("e:a")
    client.ask("e", "+a")
    client.settle()
    assert client.ask("e", "+a") == ["e +a=1"]
    assert client.ask("e", "+a", "+a") == ["e +a=1"]


def test_26_dropping_a_name_that_was_never_asked_is_ignored():
    client = Client.on("e:a e:b")
    client.ask("e", "+a")
    assert client.ask("e", "-b", "-nobody") == []
    wild = Client.on("c:a")
    wild.ask("c")
    assert wild.ask("c", "-nobody") == []


def test_27_a_name_dropped_under_the_wildcard_is_answered():
    client = Client.on("c:a c:b")
    client.ask("c", "+*", "+a", "+gone")
    client.settle()
    assert client.ask("c", "-a") == ["c +a=1"]
    assert client.ask("c", "-gone") == ["c -gone"]
    assert client.ask("c", "-b") == ["c +b=1"]


def test_28_a_name_that_does_not_exist_is_answered_at_once_and_once():
    client = Client.on("e:a")
    assert client.ask("e", "+nobody") == ["e -nobody"]
    client.settle()
    assert client.publish("e:a=2") == []
    assert client.ask("e", "+nobody") == ["e -nobody"]


def test_29_a_resource_that_appears_later_is_pushed():
    client = Client.on()
    client.ask("e", "+a")
    client.ask("c")
    client.settle()
    assert client.publish("c:x e:a") == ["c +x=1", "e +a=1"]


def test_42_unknown_names_do_not_hold_up_known_ones():
    client = Client.on("e:a")
    assert client.ask("e", "+a", "+nobody") == ["e +a=1", "e -nobody"]


def test_9_a_name_that_is_added_and_dropped_in_one_request_is_dropped():
    client = Client.on("e:a")
    assert client.ask("e", "+a", "-a") == []
    assert client.publish("e:a=2") == []


def test_a_change_of_subscription_is_observed():
    client = Client.on("c:a")
    assert client.request("c") == (Subscribed(CLUSTER, (), (), wildcard=True),)
    assert client.request("c", ["+a", "-b"]) == (Subscribed(CLUSTER, ("a",), ("b",), wildcard=True),)
    assert client.request("c") == ()


def test_the_characters_of_all_names_are_counted_once():
    subscription = Subscription()
    subscription.change(["abc", "abc", "*"], [])
    subscription.change(["abc", "de"], ["nobody"])
    assert subscription.characters == 5
    subscription.change([], ["abc", "de"])
    assert (subscription.characters, subscription.names) == (0, set())


def test_53_an_empty_wildcard_is_answered_at_once_by_nothing():
    client = Client.on()
    assert client.ask("c") == ["c"]
    assert client.ask("l") == ["l"]
    client.settle()
    assert client.publish("e:a") == []


def test_53_nothing_is_said_before_the_first_snapshot():
    client = Client.on()
    fresh = Client(type(client.stream)())
    assert fresh.ask("c", held={"a": "v"}) == []
    assert not fresh.stream.synced
    fresh.stream.update(snapshot())
    assert fresh.read() == ["c -a"]
