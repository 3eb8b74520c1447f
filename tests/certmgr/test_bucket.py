"""The bucket towards Vault: a burst at once, then one after the other, whatever the clock does."""

import pytest

from certmgr.core.bucket import Bucket


def test_attack_38_five_hundred_at_once_are_spread():
    bucket = Bucket(50, 50, 1000.0)
    waits = [bucket.take(1000.0) for _ in range(500)]
    assert [0.0] * 50 == waits[:50]
    assert waits == sorted(waits)
    assert max(waits) == pytest.approx(9.0)
    times = [1000.0 + wait for wait in waits]
    for second in range(1, 9):
        assert sum(second <= at - 1000.0 < second + 1 for at in times) <= 51


def test_bucket_fills_again_and_no_further():
    bucket = Bucket(10, 5, 0.0)
    assert [bucket.take(0.0) for _ in range(6)] == [0, 0, 0, 0, 0, 0.1]
    assert [bucket.take(1000.0) for _ in range(6)] == [0, 0, 0, 0, 0, 0.1]


def test_clock_that_is_stepped_back_takes_nothing_away():
    bucket = Bucket(10, 5, 1000.0)
    assert bucket.take(10.0) == 0
    assert bucket.take(10.0) == 0
