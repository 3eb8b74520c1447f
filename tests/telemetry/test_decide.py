"""How many instances follow from a policy, what was measured, and what was before."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legation.mesh.model.autoscale import METRICS, Autoscale, Metric
from telemetry.autoscale.decide import Decision, History, Observed, Reading, changed, decide

POLICY = Autoscale(min=1, max=10, requests_per_second=100)
WINDOW, COOLDOWN = 300.0, 15.0
OLD = History(((-WINDOW + 1, 1),))
"""Of somebody who has long seen that one instance would do."""


def rate(value: float | None, reporting: int, expected: int | None = None) -> dict[Metric, Reading]:
    return {"requests_per_second": Reading(value, reporting, reporting if expected is None else expected)}


def decided(
    readings: dict[Metric, Reading], desired: int, ready: int | None = None, history: History = OLD, policy=POLICY
) -> Decision:
    observed = Observed(desired, desired if ready is None else ready, readings)
    return decide(policy, observed, history, 0.0)[0]


@pytest.mark.parametrize(
    ("load", "desired", "replicas", "why"),
    [
        (100, 1, 1, "1 needed; 100 requests a second in all, 100 for each (within 10%)"),
        (109, 1, 1, "within 10%"),
        (111, 1, 2, "2 needed"),
        (250, 2, 3, "3 needed"),
        (350, 2, 4, "4 needed"),
        (900, 1, 5, "9 needed, 5 at once (cooldown)"),
        (900, 6, 9, "9 needed"),
        (5000, 9, 10, "50 would be needed, 10 is the maximum"),
        (0, 3, 1, "0 would do, 1 is the minimum"),
        (95, 3, 1, "1 needed"),
    ],
)
def test_the_load_by_its_target(load, desired, replicas, why):
    decision = decided(rate(load, desired), desired)
    assert (decision.replicas, decision.blind) == (replicas, False)
    assert why in decision.reason


@pytest.mark.parametrize("reading", [None, math.nan, math.inf, -1.0])
def test_what_is_not_known_takes_nobody_away(reading):
    decision = decided(rate(reading, 3), 3)
    assert (decision.replicas, decision.blind) == (3, True)
    assert "requests_per_second is not known" in decision.reason
    assert decided({}, 3).replicas == 3
    assert decided(rate(0.0, 0), 3).replicas == 3, "nobody reports"


def test_one_metric_that_is_not_known_takes_nobody_away_but_another_may_ask_for_more():
    policy = Autoscale(min=1, max=10, requests_per_second=100, in_flight=10)
    known = rate(900, 6)
    assert decided(known, 6, policy=policy).replicas == 9
    assert decided(rate(10, 6), 6, policy=policy).replicas == 6
    assert decided(rate(10, 6), 6, policy=policy).blind


def test_the_metric_that_asks_for_the_most_decides():
    policy = Autoscale(min=1, max=10, requests_per_second=100, in_flight=10, cpu=50)
    readings: dict[Metric, Reading] = {**rate(200, 2), "in_flight": Reading(35, 2, 2), "cpu": Reading(0.4, 2, 2)}
    decision = decided(readings, 2, policy=policy)
    assert decision.replicas == 4
    assert decision.ratios == {"requests_per_second": 1.0, "in_flight": 1.75, "cpu": 0.4}


@pytest.mark.parametrize(
    ("load", "reporting", "replicas"),
    [
        (60, 4, 1),
        (60, 2, 3),  # two of which nothing is known may do all they can: 260 in all
        (300, 2, 4),  # 500 would be more than there are, but nobody knows that
        (390, 2, 4),
        (800, 2, 8),
    ],
)
def test_who_says_nothing_counts_as_busy_before_anybody_goes_and_as_idle_before_anybody_comes(
    load, reporting, replicas
):
    decision = decided(rate(load, reporting, 4), 4)
    assert (decision.replicas, decision.blind) == (replicas, reporting < 4)


@pytest.mark.parametrize(
    ("seconds", "desired", "ready", "replicas"),
    [(0.25, 2, 2, 2), (0.4, 2, 2, 4), (0.4, 4, 2, 4), (0.1, 4, 4, 2), (0.0, 4, 4, 1)],
)
def test_latency_does_not_add_up(seconds, desired, ready, replicas):
    policy = Autoscale(min=1, max=10, latency=timedelta(milliseconds=250))
    assert decided({"latency": Reading(seconds, ready, ready)}, desired, ready, policy=policy).replicas == replicas


def test_latency_of_some_takes_nobody_away():
    policy = Autoscale(min=1, max=10, latency=timedelta(milliseconds=250))
    decision = decided({"latency": Reading(0.1, 3, 4)}, 4, policy=policy)
    assert (decision.replicas, decision.blind) == (4, True)


def test_none_go_before_the_window_has_passed_since_they_were_last_needed():
    history, desired = History(), 1
    for at, load, expected in (
        (0, 100, 1),
        (5, 400, 4),
        (10, 120, 4),
        (200, 120, 4),
        (304, 120, 4),
        (306, 120, 2),
        (310, 20, 2),
        (605, 20, 2),
        (611, 20, 1),
    ):
        decision, history = decide(POLICY, Observed(desired, desired, rate(load, desired)), history, float(at))
        assert decision.replicas == expected, (at, decision)
        history, desired = changed(history, decision.replicas - desired, float(at)), decision.replicas


def test_a_window_that_is_shorter_than_the_time_between_two_looks_holds_nobody_for_ever():
    policy = Autoscale(min=1, max=10, requests_per_second=100, stabilization_window=timedelta(seconds=5))
    history = History()
    for at, expected in ((0.0, 3), (5.1, 1)):
        decision, history = decide(policy, Observed(3, 3, rate(0, 3)), history, at)
        assert decision.replicas == expected


def test_who_was_just_started_knows_of_no_quiet_moment():
    assert decided(rate(0, 3), 3, history=History()).replicas == 3
    asleep = History(((-WINDOW - 1, 1),))
    assert decided(rate(0, 3), 3, history=asleep).replicas == 3, "it has looked at nothing for all of the window"


def test_doubling_or_four_more_in_one_cooldown():
    history, desired, seen = History(), 1, []
    for at in range(0, 50, 5):
        decision, history = decide(
            Autoscale(min=1, max=100, requests_per_second=1), Observed(desired, desired, rate(80, desired)), history, at
        )
        history, desired = changed(history, decision.replicas - desired, at), decision.replicas
        seen.append(desired)
    assert seen == [5, 5, 5, 10, 10, 10, 20, 20, 20, 40]


def test_none_go_soon_after_a_change():
    policy = Autoscale(min=1, max=10, requests_per_second=100, stabilization_window=timedelta(seconds=1))
    soon = History(((-2.0, 1),), ((-10.0, 2),))
    decision = decided(rate(0, 4), 4, history=soon, policy=policy)
    assert decision.replicas == 4
    quiet = History(((-0.5, 1),), ((-16.0, 2),))
    assert decided(rate(0, 4), 4, history=quiet, policy=policy).replicas == 1


@pytest.mark.parametrize(("desired", "expected"), [(20, 10), (1, 3)])
def test_new_bounds_hold_at_once(desired, expected):
    policy = Autoscale(min=3, max=10, requests_per_second=100)
    assert decided({}, desired, policy=policy).replicas == expected


numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e5)
metrics = st.dictionaries(st.sampled_from(METRICS), st.builds(Reading, numbers, st.integers(0, 20), st.integers(0, 20)))
times = st.floats(-1000, 0)
policies = st.builds(
    lambda least, more, targets, window, cooldown: Autoscale(
        min=least, max=least + more, stabilization_window=timedelta(seconds=window),
        cooldown=timedelta(seconds=cooldown), **targets,
    ),
    st.integers(1, 10), st.integers(0, 20),
    st.fixed_dictionaries({"requests_per_second": st.floats(0.01, 1000)},
                          optional={"in_flight": st.floats(0.01, 100), "cpu": st.floats(1, 100),
                                    "latency": st.just(timedelta(milliseconds=250))}),
    st.integers(1, 600), st.integers(1, 100),
)  # fmt: skip
histories = st.builds(
    lambda proposals, changes: History(tuple(sorted(proposals)), tuple(sorted(changes))),
    st.lists(st.tuples(times, st.integers(1, 30)), max_size=5),
    st.lists(st.tuples(times, st.integers(-5, 5)), max_size=5),
)


@given(policies, metrics, st.integers(1, 30), st.integers(0, 30), histories)
def test_whatever_is_measured(policy, readings, desired, ready, history):
    """Between the bounds; nobody goes blind; no more at once than a period allows; every answer has a reason."""
    decision, after = decide(policy, Observed(desired, ready, readings), history, 0.0)
    assert policy.min <= decision.replicas <= policy.max
    unknown = [m for m, _ in policy.targets() if not readings.get(m, Reading(None)).known]
    within = policy.min <= desired <= policy.max
    if unknown and within:
        assert decision.replicas >= desired
        assert decision.blind
    if within:
        assert decision.replicas <= max(2 * desired, desired + 4) + sum(abs(by) for _, by in history.changes) * 2
    assert decision.reason
    assert after.proposals[-1][0] == 0.0
    assert [n for _, n in after.proposals] == sorted({n for _, n in after.proposals}, reverse=True)


@given(policies, st.floats(0, 1e4), st.floats(0, 1e4), st.integers(1, 10), histories)
def test_more_load_never_asks_for_fewer(policy, one, other, desired, history):
    less, more = sorted((one, other))
    policy = Autoscale(min=policy.min, max=policy.max, requests_per_second=policy.requests_per_second)
    few, many = (decided(rate(load, desired), desired, history=history, policy=policy) for load in (less, more))
    assert few.replicas <= many.replicas


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(1, 26)), min_size=1, max_size=60))
def test_what_is_kept_of_the_past_gives_the_most_of_each_window(steps):
    """The history is thinned: what it leaves out is never the most."""
    policy = Autoscale(min=1, max=30, requests_per_second=1)
    history, at = History(((0.0, 30),)), 0.0
    everything = [(0.0, 30)]
    for pause, number in steps:
        at += pause
        _, history = decide(policy, Observed(30, 30, rate(number, 30)), history, at)
        everything.append((at, number))
        recent = [n for t, n in everything if t > at - WINDOW]
        assert max(n for _, n in history.proposals) == max(recent)
