"""What differs, asked once or a thousand times."""

import gc
import threading
import weakref

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from tests.xds_server.protocol.client import snapshot
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.difference import between, everything
from xds_server.protocol.types import DeltaRequest, Send
from xds_server.serve.codec import DeltaCodec
from xds_server.snapshot import CLUSTER, ENDPOINT, LISTENER, Resources


def test_what_came_went_and_changed_differs():
    before = snapshot("c:same c:changed=1 c:gone c:equal").of_type(CLUSTER)
    after = Resources(snapshot("c:new c:changed=2 c:equal").of_type(CLUSTER) | {"same": before["same"]})
    for _ in range(3):
        change = between(before, after)
        assert change.names == {"changed", "gone", "new", "equal"}
        assert [resource.name for resource in change.upserts] == ["changed", "new"]
        assert change.versions == {name: after[name].version for name in ("changed", "new")}
        assert change.size == sum(after[name].size for name in ("changed", "new"))
        assert change.removes
        assert between(after, before).names == change.names
        assert between(before, before).names == frozenset()
    assert not between(snapshot("c:a").of_type(CLUSTER), snapshot("c:a c:b").of_type(CLUSTER)).removes


def test_answers_are_for_the_very_sets_that_were_asked_about():
    for n in range(50):
        before, after = (snapshot(f"c:a={n}").of_type(CLUSTER), snapshot(f"c:b={n} c:x{n}").of_type(CLUSTER))
        assert between(before, after).names == {"a", "b", f"x{n}"}


def test_the_same_move_is_looked_at_once():
    before, after = snapshot("c:a").of_type(CLUSTER), snapshot("c:b").of_type(CLUSTER)
    assert between(before, after) is between(before, after)


def test_nothing_is_kept_of_what_was_before():
    before, after = snapshot("c:a").of_type(CLUSTER), snapshot("c:b").of_type(CLUSTER)
    between(before, after)
    gone = weakref.ref(before)
    del before
    gc.collect()
    assert gone() is None
    assert between(snapshot("c:d").of_type(CLUSTER), after).names == {"b", "d"}


def test_all_there_is_is_put_together_once_for_those_who_begin_at_a_time_and_kept_by_nobody_else():
    resources = snapshot("c:b c:a=2").of_type(CLUSTER)
    first = everything(resources)
    assert [resource.name for resource in first.upserts] == ["a", "b"]
    assert not first.is_common
    assert everything(resources) is first
    assert first.is_common
    gone = weakref.ref(first)
    del first
    assert gone() is None
    assert not everything(resources).is_common


def test_streams_that_begin_share_the_bytes_of_their_first_response_and_the_names_that_they_ask_for():
    """Of a thousand streams each would have its own, else. What one asks for later is its own."""
    there, codec = snapshot("c:a c:b e:a e:b"), DeltaCodec()
    streams = [DeltaStream() for _ in range(3)]
    sends: list[Send] = []
    for stream in streams:
        stream.update(there)
        stream.receive(DeltaRequest(ENDPOINT, ("a", "b")))
        sends += stream.flush()
    assert len({id(send.shared) for send in sends}) == 1
    encoded = [codec.encode(send, ()) for send in sends]
    assert encoded[0] == encoded[1] == encoded[2]
    assert set(sends[0].shared.encoded) == {"delta"}
    subscriptions = [stream._watches[ENDPOINT].subscription for stream in streams]
    assert len({id(subscription.names) for subscription in subscriptions}) == 1
    streams[0].receive(DeltaRequest(ENDPOINT, unsubscribe=("a",)))
    assert [subscription.names for subscription in subscriptions] == [{"b"}, {"a", "b"}, {"a", "b"}]
    assert [subscription.characters for subscription in subscriptions] == [1, 2, 2]


def test_streams_that_begin_with_nothing_are_told_so_each_of_its_own_type():
    there, codec = snapshot("c:a"), DeltaCodec()
    for kind in (LISTENER, ENDPOINT, LISTENER):
        stream = DeltaStream()
        stream.update(there)
        stream.receive(DeltaRequest(kind, ("*",)))
        (send,) = stream.flush()
        assert DeltaDiscoveryResponse.FromString(codec.encode(send, ())).type_url == kind


def test_servers_in_two_threads_do_not_meet():
    """A server in each of two threads, with resources that both serve."""
    sets = [snapshot(f"c:a={n}").of_type(CLUSTER) for n in range(40)]
    failures = []

    def work():
        try:
            for n in range(4000):
                before, after = sets[n % 40], sets[(n * 7 + 1) % 40]
                assert between(before, after).versions == ({} if before is after else {"a": after["a"].version})
        except Exception as error:  # noqa: BLE001 - for the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
