"""What differs, asked once or a thousand times."""

import gc
import threading
import weakref

from tests.xds_server.protocol.client import snapshot
from xds_server.protocol.difference import between
from xds_server.snapshot import CLUSTER, Resources


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
