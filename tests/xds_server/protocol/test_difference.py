"""Which names differ, asked once or a thousand times."""

import threading

from tests.xds_server.protocol.client import snapshot
from xds_server.protocol.difference import Differences
from xds_server.snapshot import CLUSTER


def test_what_came_went_and_changed_differs():
    differences = Differences()
    before = snapshot("c:same c:changed=1 c:gone").of_type(CLUSTER)
    after = dict(snapshot("c:changed=2 c:new").of_type(CLUSTER)) | {"same": before["same"]}
    for _ in range(3):
        assert differences.between(before, after) == {"changed", "gone", "new"}
        assert differences.between(after, before) == {"changed", "gone", "new"}
        assert differences.between(before, before) == frozenset()


def test_answers_are_for_the_very_sets_that_were_asked_about():
    differences = Differences()
    for n in range(50):
        before, after = (snapshot(f"c:a={n}").of_type(CLUSTER), snapshot(f"c:b={n} c:x{n}").of_type(CLUSTER))
        assert differences.between(before, after) == {"a", "b", f"x{n}"}


def test_the_same_move_is_looked_at_once():
    differences = Differences()
    before, after = snapshot("c:a").of_type(CLUSTER), snapshot("c:b").of_type(CLUSTER)
    assert differences.between(before, after) is differences.between(before, after)


def test_servers_in_two_threads_share_nothing():
    """Each server has its own: with one for all, a deque changed while another thread looked through it."""
    sets = [snapshot(f"c:a={n}").of_type(CLUSTER) for n in range(40)]
    failures = []

    def work():
        differences = Differences()
        try:
            for n in range(4000):
                assert differences.between(sets[n % 40], sets[(n * 7 + 1) % 40]) <= {"a"}
        except Exception as error:  # noqa: BLE001 - for the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert not any(isinstance(value, list | dict | set) for value in vars(Differences).values()), "no state is shared"
