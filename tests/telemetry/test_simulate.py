"""A recorded load, replayed through a policy, and drawn."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legation.mesh.model.autoscale import Autoscale
from telemetry.autoscale.chart import chart
from telemetry.autoscale.simulate import Load, UnreadableRecord, read_csv, simulate

POLICY = Autoscale(min=1, max=6, requests_per_second=100, stabilization_window=timedelta(minutes=2))


def day(*levels: float, each: int = 300, step: int = 15) -> list[Load]:
    """A load of so many levels, each for five minutes."""
    values = [level for level in levels for _ in range(each // step)]
    return [Load(float(i * step), {"requests_per_second": value}) for i, value in enumerate(values)]


def test_a_load_that_rises_and_falls():
    result = simulate(POLICY, day(80, 380, 80, 80), begin=1)
    assert [result.steps[i].desired for i in (0, 19, 21, 39, 48, 79)] == [1, 1, 4, 4, 1, 1]
    assert (result.ups, result.downs, result.flaps) == (1, 1, 1)
    assert result.short == 15, "until the new ones serve"
    assert result.instance_seconds == 1 * 300 + 4 * 405 + 1 * 480


def test_new_instances_serve_after_a_while():
    result = simulate(POLICY, day(80, 380), begin=1, start_delay=60)
    at = next(i for i, step in enumerate(result.steps) if step.desired == 4)
    assert [step.ready for step in result.steps[at : at + 6]] == [1, 1, 1, 1, 4, 4]
    assert result.short == 60


def test_latency_is_left_out_and_what_was_not_measured_takes_nobody_away():
    policy = POLICY.model_copy(update={"latency": timedelta(milliseconds=100)})
    loads = day(380, 380)
    assert simulate(policy, loads, begin=1).steps == simulate(POLICY, loads, begin=1).steps
    hole = [Load(load.at, {}) if 300 <= load.at < 900 else load for load in day(380, 80, 80, 80)]
    assert {step.desired for step in simulate(POLICY, hole, begin=4).steps[:50]} == {4}


def test_a_csv_file_is_a_record():
    text = "time, requests_per_second,in_flight,who\n2026-01-01T00:00:10Z,12.5,3,a\n1767225600,10,,b\n"
    first, second = read_csv(text)
    assert first == Load(1767225600.0, {"requests_per_second": 10.0})
    assert second == Load(1767225610.0, {"requests_per_second": 12.5, "in_flight": 3.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: '': write time and requests_per_second or in_flight or cpu"),
        ("when,rps\n", "line 1: 'when,rps'"),
        ("time,cpu\n", "line 2: nothing is recorded here"),
        ("time,cpu\n1,0.5\nsoon,1\n", "line 3: Invalid isoformat string: 'soon'"),
        ("time,cpu\n1,much\n", "line 2: could not convert string to float: 'much'"),
    ],
)
def test_what_is_no_record_is_told_with_its_line(text, said):
    with pytest.raises(UnreadableRecord, match=said):
        read_csv(text)


def test_the_picture():
    lines = list(chart(simulate(POLICY, day(80, 380, 80, 80), begin=1), POLICY, 28))
    assert lines == [
        "    6 │",
        "    5 │",
        "    4 │     ███████",
        "    3 │     ███████",
        "    2 │     ███████",
        "    1 │████████████████████",
        "      └" + "─" * 20,
        " load  ▆▆▆▆▆█████▂▆▆▆▆▆▆▆▆▆",
        "            !",
    ]


def test_a_moment_is_a_picture_too():
    (one,) = simulate(POLICY, [Load(0.0, {"requests_per_second": 1.0})], begin=1).steps
    assert one.ready == 1
    assert len(list(chart(simulate(POLICY, [Load(0.0, {})], begin=1), POLICY, 5))) == 9


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=200), st.integers(1, 6), st.integers(10, 150))
def test_whatever_is_replayed_stays_in_bounds_and_fits(levels, begin, width):
    loads = [Load(i * 15.0, {"requests_per_second": level}) for i, level in enumerate(levels)]
    result = simulate(POLICY, loads, begin=begin)
    assert all(POLICY.min <= step.desired <= POLICY.max and step.ready <= step.desired for step in result.steps)
    assert all(len(line) <= max(width, 18) for line in chart(result, POLICY, width))
