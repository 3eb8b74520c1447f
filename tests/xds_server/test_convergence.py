"""How long a change takes to reach the last proxy."""

from xds_server.convergence import Convergence


def test_a_change_is_done_when_its_last_stream_has_answered() -> None:
    convergence = Convergence()
    convergence.began([1, 2], 10.0)
    assert convergence.answered(1, 10.5) == ()
    assert convergence.answered(3, 10.6) == ()
    assert convergence.answered(2, 11.0) == (1.0,)
    assert convergence.answered(2, 12.0) == ()


def test_who_answers_the_newest_has_answered_all_before() -> None:
    convergence = Convergence()
    convergence.began([1], 10.0)
    convergence.began([1], 11.0)
    assert convergence.answered(1, 12.0) == (2.0, 1.0)


def test_a_change_that_concerns_nobody_is_none() -> None:
    convergence = Convergence()
    convergence.began([], 10.0)
    assert convergence.answered(1, 12.0) == ()


def test_a_stream_that_never_answers_costs_bounded_memory() -> None:
    convergence = Convergence()
    for change in range(1000):
        convergence.began([1], float(change))
    assert len(convergence.answered(1, 1000.0)) == 256
