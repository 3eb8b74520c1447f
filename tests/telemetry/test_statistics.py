"""What sidecars themselves say, turned into readings."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.autoscale.statistics import Sample, cpu, parse, quantile, readings

TEXT = """\
# TYPE envoy_http_downstream_rq_xx counter
envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="inbound"} 90
envoy_http_downstream_rq_xx{envoy_response_code_class="5",envoy_http_conn_manager_prefix="inbound"} 10
envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="outbound_pay"} 7
# TYPE envoy_http_downstream_rq_active gauge
envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix="inbound"} 3
# TYPE envoy_http_downstream_rq_time histogram
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="inbound",le="5"} 50
envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="inbound",le="+Inf"} 100
envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix="inbound"} 1234
envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="inbound"} 100
"""


def test_a_sidecar_s_own_text():
    assert parse(TEXT, 7.0) == Sample(7.0, 100, 3, ((5.0, 50), (math.inf, 100)))


def test_a_sidecar_that_says_nothing_of_requests():
    assert parse("envoy_server_live 1\n", 7.0) is None
    with pytest.raises(ValueError, match="could not convert"):
        parse(TEXT.replace(" 90", " many"), 7.0)


def sample(at: float, answered: float, active: float = 0, slow: float = 0) -> Sample:
    return Sample(at, answered, active, ((100.0, answered - slow), (math.inf, answered)))


def test_rates_are_of_all_instances_together():
    found = readings(
        {"a": (sample(0, 0), sample(10, 500, 4)), "b": (sample(5, 100), sample(10, 200, 2))}, since=1, expected=2
    )
    assert found["requests_per_second"].value == 70
    assert found["in_flight"].value == 6
    assert found["latency"].value == pytest.approx(0.095)
    assert {(r.reporting, r.expected) for r in found.values()} == {(2, 2)}


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ({}, "no sidecar has answered"),
        ({"a": (sample(0, 0), sample(1, 5))}, "no sidecar has answered"),  # too long ago
        ({"a": (sample(10, 5),)}, "each sidecar has been asked but once"),
        ({"a": (sample(5, 500), sample(10, 5))}, "each sidecar has been asked but once"),  # another life
    ],
)
def test_what_is_old_or_seen_once_is_no_rate(samples, why):
    found = readings(samples, since=2, expected=1)
    for metric in ("requests_per_second", "latency"):
        assert (found[metric].known, found[metric].why) == (False, why)


def test_who_does_not_answer_any_more_is_missed():
    found = readings({"a": (sample(5, 0), sample(10, 50)), "b": (sample(0, 0), sample(1, 9))}, since=2, expected=2)
    assert (found["requests_per_second"].value, found["requests_per_second"].reporting) == (10, 1)


def test_no_request_takes_no_time_but_one_that_waits_says_nothing():
    idle = (sample(0, 100), sample(10, 100))
    assert readings({"a": idle}, 1, 1)["latency"].value == 0.0
    hung = (sample(0, 100), sample(10, 100, active=5))
    assert not readings({"a": hung}, 1, 1)["latency"].known


def test_processor_time_is_of_one_process_each():
    assert cpu({"a": ((0, 1.0), (10, 6.0)), "b": ((0, 0.0), (10, 2.5))}, since=1).value == 0.75
    assert cpu({"a": ((0, 1.0), (10, 6.0)), "b": ((10, 2.5),)}, since=1).expected == 2
    assert not cpu({"a": ((0, 9.0), (10, 1.0))}, since=1).known
    assert not cpu({}, since=1).known


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ([], None),
        ([(100.0, 0), (math.inf, 0)], None),
        ([(100.0, 100), (math.inf, 100)], 95.0),
        ([(100.0, 50), (200.0, 100), (math.inf, 100)], 190.0),
        ([(100.0, 50), (math.inf, 100)], 100.0),
        ([(100.0, 95), (200.0, 95), (math.inf, 100)], 100.0),
    ],
)
def test_a_quantile_is_prometheus_s(buckets, expected):
    assert quantile(0.95, buckets) == expected


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.floats(0.01, 0.99))
def test_a_quantile_lies_within_the_buckets(counts, share):
    bounds = [float(2**i) for i in range(len(counts) - 1)] + [math.inf]
    total = [sum(counts[: i + 1]) for i in range(len(counts))]
    found = quantile(share, list(zip(bounds, total, strict=True)))
    assert (found is None) == (total[-1] == 0)
    if found is not None and len(counts) > 1:
        assert 0 <= found <= bounds[-2]
