"""How long a change takes to reach the last proxy."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from xds_server.convergence import KEPT, Convergence


def began(convergence: Convergence, streams: Iterable[int], now: float) -> tuple[float, ...]:
    change = convergence.begin(now)
    for stream in streams:
        convergence.told(change, stream)
    return convergence.all_told(change, now)


def test_a_change_is_done_when_its_last_stream_has_answered() -> None:
    convergence = Convergence()
    assert began(convergence, [1, 2], 10.0) == ()
    assert convergence.answered(1, 10.5) == ()
    assert convergence.answered(3, 10.6) == ()
    assert convergence.answered(2, 11.0) == (1.0,)
    assert convergence.answered(2, 12.0) == ()


def test_who_answers_the_newest_has_answered_all_before() -> None:
    convergence = Convergence()
    began(convergence, [1], 10.0)
    began(convergence, [1], 11.0)
    assert convergence.answered(1, 12.0) == (2.0, 1.0)


def test_a_change_is_not_done_before_all_are_told_of_it() -> None:
    convergence = Convergence()
    change = convergence.begin(10.0)
    convergence.told(change, 1)
    assert convergence.answered(1, 11.0) == ()
    assert convergence.all_told(change, 12.0) == (2.0,)


def test_a_change_that_concerns_nobody_is_none() -> None:
    convergence = Convergence()
    assert began(convergence, [], 10.0) == ()
    assert convergence.answered(1, 12.0) == ()


def test_a_stream_that_never_answers_costs_bounded_memory() -> None:
    convergence = Convergence()
    for change in range(1000):
        began(convergence, [1], float(change))
    assert len(convergence._changes) == len(convergence._told[1]) == KEPT
    assert len(convergence.answered(1, 1000.0)) == KEPT


def test_who_is_stuck_costs_the_others_nothing() -> None:
    """An answer looks at the changes that its own stream was told of since its last answer, and at no other."""
    convergence = Convergence()
    for change in range(200):
        began(convergence, [1, 2], float(change))
        assert len(convergence._told[2]) == 1
        assert convergence.answered(2, change + 0.5) == ()
    assert len(convergence._told) == 1


@given(st.lists(st.tuples(st.sampled_from("ca"), st.sets(st.integers(1, 4), min_size=1)), max_size=60))
def test_every_change_is_measured_once_when_its_last_stream_answers(events: list[tuple[str, set[int]]]) -> None:
    convergence, open_changes, now = Convergence(), {}, 0.0
    for kind, streams in events:
        now += 1.0
        if kind == "c":
            began(convergence, streams, now)
            open_changes[now] = set(streams)
            continue
        for stream in streams:
            expected = [now - begin for begin, waiting in open_changes.items() if waiting == {stream}]
            assert list(convergence.answered(stream, now)) == expected
            open_changes = {b: w - {stream} for b, w in open_changes.items() if w != {stream}}
