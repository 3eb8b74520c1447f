"""Numbers are those of the conformance cases: what a strict delta server must do."""

import pytest

from tests.xds_server.protocol.client import Client, resource
from xds_server.protocol.order import UPSERTS, in_order, split
from xds_server.snapshot import CLUSTER, LISTENER

ALL = "c:a e:a s:k l:in r:web"


def whole(specs: str = ALL) -> Client:
    """A client that has everything."""
    client = Client.on(specs)
    client.ask("r", "+web", "+new")
    client.ask("l")
    client.ask("s", "+k", "+k2")
    client.ask("e", "+a", "+b")
    client.ask("c")
    client.settle()
    assert client.stream.synced
    return client


def test_41_everything_goes_in_order_whatever_was_asked_first():
    client = whole()
    came = client.publish("c:a=2 e:a=2 s:k=2 l:in=2 r:web=2") + client.settle()
    assert [line[0] for line in came] == ["c", "e", "s", "l", "r"]


def test_41_removals_come_last_and_referrers_first():
    client = whole()
    assert client.publish("") == ["l -in", "r -web", "c -a", "e -a", "s -k"]


def test_41_a_new_cluster_goes_before_and_an_old_one_after_the_route_that_moves():
    client = whole()
    assert client.publish("c:b e:b s:k l:in r:web=2") == ["c +b=1", "e +b=1"]
    client.ack("e")
    assert client.read() == []
    client.ack("c")
    assert client.read() == ["r +web=2"]
    client.ack("l")
    assert client.read() == []
    client.ack("r")
    assert client.read() == ["c -a", "e -a"]


def test_41_a_listener_goes_only_when_the_one_in_its_place_may_come():
    client = whole()
    assert client.publish("c:a c:b e:a e:b s:k l:out r:web") == ["c +b=1", "e +b=1"]
    client.ack("e")
    assert client.read() == []
    client.ack("c")
    assert client.read() == ["l +out=1", "l -in"]


def test_41_a_refused_cluster_holds_no_route_up():
    client = whole()
    client.publish("c:a c:b e:a s:k l:in r:web=2")
    client.nack("c")
    assert client.read() == ["r +web=2"]


def test_41_endpoints_on_their_way_hold_no_route_up():
    client = whole()
    assert client.publish("c:a e:a=2 s:k l:in r:web") == ["e +a=2"]
    assert client.publish("c:a e:a=2 s:k l:in r:web=2") == ["r +web=2"]


def test_41_an_answer_of_nothing_does_not_wait_for_clusters_and_one_of_something_does():
    client = Client.on("c:a")
    client.ask("c")
    assert client.ask("l") == ["l"]
    assert client.ask("r", "+web") == ["r -web"]
    client = Client.on("c:a l:in")
    client.ask("c")
    assert client.ask("l") == []
    client.ack("c")
    assert client.read() == ["l +in=1"]


@pytest.mark.parametrize("changed", ["l:in=2 r:web", "l:in r:web=2"])
def test_41_removals_wait_while_a_listener_or_route_is_refused(changed):
    client = whole()
    client.publish(f"c:b e:b s:k {changed}")
    client.ack("c")
    client.read()
    client.nack("l")
    client.nack("r")
    client.settle()
    assert client.read() == []
    assert client.stream.acknowledged
    assert not client.stream.synced
    assert client.publish("c:b e:b s:k l:in=3 r:web=3") == ["l +in=3", "r +web=3"]
    assert client.settle() == ["c -a", "e -a"]
    assert client.stream.synced


def test_41_what_comes_back_while_its_removal_waits_is_not_sent():
    client = whole()
    client.publish("c:b e:b s:k l:in r:web=2")
    client.ack("c")
    assert client.read() == ["r +web=2"]
    assert client.publish("c:a c:b e:a e:b s:k l:in r:web=2") == []
    assert client.settle() == []
    assert client.stream.synced


def test_41_a_secret_stays_while_a_cluster_that_may_use_it_is_on_its_way():
    client = whole()
    assert client.publish("c:a=2 e:a s:k2 l:in r:web") == ["c +a=2", "e +a=1", "s +k2=1"]
    client.ack("e")
    client.ack("s")
    assert client.read() == []
    assert client.settle() == ["s -k"]


def test_41_a_route_stays_until_the_listener_has_moved():
    client = whole()
    assert client.publish("c:a e:a s:k l:in=2 r:new") == ["l +in=2", "r +new=1"]
    assert client.settle() == ["r -web"]


def test_41_the_answer_about_an_unknown_name_does_not_wait():
    client = whole()
    client.publish("c:a e:a s:k l:in=2 r:web")
    assert client.ask("e", "+nobody") == ["e -nobody"]


def test_41_removals_after_a_reconnect_wait_too():
    client = Client.on("c:a l:in=2")
    client.ask("l", held={"in": "old"})
    held = {"a": resource("c:a").version, "gone": "v"}
    assert client.ask("c", held=held) == []
    assert client.settle() == ["c -gone"]


def test_41_a_route_that_waits_its_turn_holds_removals_back():
    client = whole()
    client.publish("c:a e:a s:k l:in r:web=2")
    client.publish("e:a s:k l:in r:web=2")
    assert client.settle() == ["c -a"]


def test_types_that_nobody_knows_go_last_by_url():
    assert in_order(["zz", "aa", LISTENER, CLUSTER], UPSERTS) == [CLUSTER, LISTENER, "aa", "zz"]


def test_44_one_resource_above_the_limit_goes_alone():
    resources = [resource(f"c:{name}={'x' * size}") for name, size in [("a", 10), ("b", 5000), ("c", 10), ("d", 10)]]
    parts = [[r.name for r in upserts] for upserts, _ in split(resources, (), 2000)]
    assert parts == [["a"], ["b"], ["c", "d"]]
    assert [len(removed) for _, removed in split((), ["x" * 500] * 5, 1300)] == [2, 2, 1]
    assert list(split((), (), 1000)) == []
