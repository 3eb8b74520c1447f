"""Which methods get which retries."""

from datetime import timedelta

import pytest

from legation.mesh.model.retry import IDEMPOTENT_METHODS, RetryPolicy
from legation.mesh.model.service import Protocol
from xds_server.compile.retry import SAFE_CONDITIONS, retry_rules

SAFE = frozenset(SAFE_CONDITIONS)
TIMEOUT = timedelta(seconds=2)


def rules(retry: RetryPolicy | None, protocol: Protocol = "http") -> list[tuple]:
    return [
        (rule.methods, rule.policy and (frozenset(rule.policy.retry_on.split(",")), rule.policy.num_retries.value))
        for rule in retry_rules(retry, protocol, TIMEOUT)
    ]


@pytest.mark.parametrize(
    ("retry", "protocol", "expected"),
    [
        (None, "http", [((), (SAFE, 18))]),
        (None, "grpc", [((), (SAFE, 18))]),
        ({"num_retries": 0, "retry_on": ["5xx"]}, "http", [((), None)]),
        ({"num_retries": 3}, "http", [((), (SAFE, 3))]),
        ({"num_retries": 3, "retry_on": ["connect-failure"]}, "http", [((), (SAFE, 3))]),
        (
            {"num_retries": 3, "retry_on": ["5xx", "reset"]},
            "http",
            [(IDEMPOTENT_METHODS, (SAFE | {"5xx", "reset"}, 3)), ((), (SAFE, 3))],
        ),
        (
            {"num_retries": 2, "retry_on": ["5xx"], "methods": ["POST"]},
            "http",
            [(("POST",), (SAFE | {"5xx"}, 2)), ((), (SAFE, 2))],
        ),
        ({"num_retries": 2, "retry_on": ["5xx"], "methods": []}, "http", [((), (SAFE, 2))]),
        ({"num_retries": 2, "retry_on": ["unavailable"]}, "grpc", [((), (SAFE | {"unavailable"}, 2))]),
        (
            {"num_retries": 2, "retry_on": ["unavailable"], "methods": ["GET"]},
            "grpc",
            [(("GET",), (SAFE | {"unavailable"}, 2)), ((), (SAFE, 2))],
        ),
    ],
)
def test_rules(retry, protocol, expected):
    assert rules(retry and RetryPolicy(**retry), protocol) == expected


def test_each_try_has_its_limit_and_its_back_off():
    given = RetryPolicy(
        retry_on=("5xx",),
        num_retries=1,
        per_try_timeout=timedelta(milliseconds=250),
        base_interval=timedelta(milliseconds=10),
        max_interval=timedelta(milliseconds=40),
    )
    repeated, once = (rule.policy for rule in retry_rules(given, "http", TIMEOUT))
    assert repeated.per_try_timeout.ToMilliseconds() == 250
    assert once.per_try_timeout.ToMilliseconds() == 1999, "a POST would end with its only try"
    for policy in (repeated, once):
        assert policy.retry_back_off.base_interval.ToMilliseconds() == 10
        assert policy.retry_back_off.max_interval.ToMilliseconds() == 40


def test_without_retry_a_try_may_take_all_of_its_request_s_time():
    (rule,) = retry_rules(None, "http", TIMEOUT)
    assert rule.policy.per_try_timeout.ToMilliseconds() == 1999
    (rule,) = retry_rules(None, "http", timedelta(0))
    assert not rule.policy.HasField("per_try_timeout")
    assert rule.policy.num_retries.value == 1_000


def test_a_try_that_is_repeated_after_its_limit_has_only_the_one_that_was_asked_for():
    repeated, _ = (rule.policy for rule in retry_rules(RetryPolicy(retry_on=("5xx",)), "http", TIMEOUT))
    assert not repeated.HasField("per_try_timeout")
