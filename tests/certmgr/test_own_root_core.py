"""When another root follows, and when there is nothing to go on from: by values and a clock."""

from dataclasses import replace

import pytest
from cryptography import x509

from certmgr import generations
from certmgr.core.own_root import have_ended, is_due
from certmgr.own_root import bygone
from legation.mesh.rollover import CaRef, Rollover
from tests.certmgr.authority import new_key, sign

DAY = 86400.0
NOW = 1_800_000_000.0
REF = CaRef("int-1", "root-1")
LAST = Rollover("a", "vault", REF, REF, "done", NOW - 3600, NOW - 3600)


def root(begins: float, ends: float) -> x509.Certificate:
    key = new_key()
    return sign(key, "root", "root", key, (begins, ends), ())


@pytest.mark.parametrize(
    ("begins", "ends", "last", "due"),
    [
        (-3 * DAY, 4 * DAY, None, False),
        (-4 * DAY, 3 * DAY, None, True),
        (-DAY, 3649 * DAY, None, True),  # of a state folder of an earlier version
        (-4 * DAY, 3 * DAY, LAST, True),
        (-4 * DAY, 3 * DAY, replace(LAST, phase="settle"), False),
        (-4 * DAY, 3 * DAY, replace(LAST, back=True), False),
        (-4 * DAY, 3 * DAY, replace(LAST, back=True, started=NOW - DAY), True),
    ],
)
def test_another_root_is_due_at_half_of_a_life_and_not_at_once_when_it_was_called_off(begins, ends, last, due):
    assert is_due(root(NOW + begins, NOW + ends), NOW, last) is due


def test_only_when_no_root_is_good_any_more_there_is_nothing_to_go_on_from():
    old, new = root(NOW - 2 * DAY, NOW - DAY), root(NOW - DAY, NOW + DAY)
    assert [have_ended(roots, NOW) for roots in ((), (old,), (old, new), (new,))] == [False, True, False, False]


def test_a_roll_over_among_those_that_are_gone_is_taken_no_further():
    second = replace(REF, vault=generations.url(2))
    team = replace(REF, vault="https://vault.test")
    running = Rollover("a", "vault", REF, second, "trust", NOW, NOW)
    assert [bygone(running, generation) for generation in (1, 2, 3, None)] == [False, False, True, False]
    assert not bygone(replace(running, new=team), 3)
    assert not bygone(replace(running, kind="root"), 3)
    over = replace(running, phase="done")
    assert [bygone(over, generation) for generation in (2, 3)] == [False, True]
    assert [bygone(replace(over, back=True), generation) for generation in (1, 2)] == [False, True]
