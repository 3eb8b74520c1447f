"""When an Envoy is taken for one that hangs."""

import pytest

from legation.sidecar.silence import LIMIT, TRIES, Silence


def missed(*took: float) -> Silence:
    silence = Silence()
    for seconds in took:
        silence.missed(seconds)
    return silence


def test_half_a_minute_of_tries_in_a_row_without_an_answer_is_a_hang() -> None:
    assert TRIES * LIMIT == 30
    assert not missed(*[LIMIT] * (TRIES - 1)).hangs
    assert missed(*[LIMIT] * TRIES).hangs


def test_an_answer_begins_the_count_anew() -> None:
    silence = missed(*[LIMIT] * (TRIES - 1))
    silence.heard()
    silence.missed(LIMIT)
    assert not silence.hangs


def test_a_try_that_we_were_late_for_tells_of_us_and_begins_the_count_anew() -> None:
    silence = missed(*[LIMIT] * (TRIES - 1), 90.0)
    assert (silence.hangs, silence.problem) == (False, None)
    silence.missed(LIMIT)
    assert not silence.hangs


@pytest.mark.parametrize(
    ("tries", "problem"),
    [
        (1, None),
        (2, "its Envoy has not answered for 10 s; after 30 s it is replaced"),
        (6, "its Envoy has not answered for 30 s; it is replaced"),
    ],
)
def test_what_whoever_looks_is_told(tries: int, problem: str | None) -> None:
    assert missed(*[LIMIT] * tries).problem == problem
