"""Which names differ, asked once or a thousand times."""

from tests.xds_server.protocol.client import snapshot
from xds_server.protocol.difference import difference
from xds_server.snapshot import CLUSTER


def test_what_came_went_and_changed_differs():
    before = snapshot("c:same c:changed=1 c:gone").of_type(CLUSTER)
    after = dict(snapshot("c:changed=2 c:new").of_type(CLUSTER)) | {"same": before["same"]}
    for _ in range(3):
        assert difference(before, after) == {"changed", "gone", "new"}
        assert difference(after, before) == {"changed", "gone", "new"}
        assert difference(before, before) == frozenset()


def test_answers_are_for_the_very_sets_that_were_asked_about():
    for n in range(50):
        before, after = (snapshot(f"c:a={n}").of_type(CLUSTER), snapshot(f"c:b={n} c:x{n}").of_type(CLUSTER))
        assert difference(before, after) == {"a", "b", f"x{n}"}
