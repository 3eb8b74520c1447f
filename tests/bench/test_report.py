"""The JSON line of a bench figure, and what makes its goal hold."""

import json

import pytest

from bench.peers.go import version_of
from bench.report import Figure, Goal

GOAL = Goal(0.8, "<= 0.8 x peer")


def figure(ours: list[float], peer: list[float], goal: Goal | None = GOAL, note: str = "") -> Figure:
    return Figure("fanout", "1-change", "ms", ours, peer, goal, note)


def test_the_line_has_all_fields_in_their_order() -> None:
    line = figure([30.0, 10.0, 20.00049], [40.0, 50.0, 45.0, 80.0], note="300 streams").line()
    assert "\n" not in line
    assert list(json.loads(line).items()) == [
        ("bench", "fanout"),
        ("case", "1-change"),
        ("ours", 20.0),
        ("peer", 47.5),
        ("unit", "ms"),
        ("ratio", 0.421),
        ("goal", "<= 0.8 x peer"),
        ("holds", True),
        ("runs", 3),
        ("spread", {"ours": [10.0, 30.0], "peer": [40.0, 80.0]}),
        ("note", "300 streams"),
    ]


@pytest.mark.parametrize(
    ("ours", "holds"),
    [
        pytest.param(79.0, True, id="below"),
        pytest.param(80.0, True, id="at the goal"),
        pytest.param(80.01, False, id="above, by less than is shown"),
    ],
)
def test_a_goal_holds_up_to_its_ratio(ours: float, holds: bool) -> None:
    assert figure([ours], [100.0]).holds is holds


def test_the_median_decides_and_not_an_outlier() -> None:
    assert figure([70.0, 70.0, 9000.0], [100.0]).holds is True


def test_pairs_are_compared_with_each_other_as_the_machine_was_for_both() -> None:
    paired = Figure("dataplane", "plain-http1-rps", "1/s", [90.0, 45.0, 20.0], [100.0, 50.0, 10.0], GOAL, paired=True)
    told = json.loads(paired.line())
    assert (told["ratio"], told["ours"], told["peer"]) == (0.9, 45.0, 50.0)
    assert told["spread"] == {"ours": [20.0, 90.0], "peer": [10.0, 100.0], "ratio": [0.9, 2.0]}


def test_one_pair_has_a_ratio_and_no_spread_of_it() -> None:
    told = json.loads(Figure("dataplane", "plain-http1-rps", "1/s", [9.0], [10.0], paired=True).line())
    assert (told["ratio"], told["spread"]) == (0.9, {"ours": [9.0, 9.0], "peer": [10.0, 10.0]})


@pytest.mark.parametrize(
    ("ours", "peer"), [([50.0], []), ([], [100.0]), ([], [])], ids=["no peer", "only the peer", "neither"]
)
def test_without_both_sides_there_is_no_ratio_and_no_verdict(ours: list[float], peer: list[float]) -> None:
    told = json.loads(figure(ours, peer).line())
    assert (told["ratio"], told["holds"]) == (None, None)
    assert (told["ours"] is None, told["peer"] is None) == (not ours, not peer)
    assert (told["spread"]["ours"] is None, told["spread"]["peer"] is None) == (not ours, not peer)


def test_without_a_goal_there_is_a_ratio_and_no_verdict() -> None:
    told = json.loads(figure([50.0], [100.0], goal=None).line())
    assert (told["ratio"], told["goal"], told["holds"]) == (0.5, None, None)


@pytest.mark.parametrize(("ours", "holds"), [(95.0, True), (94.99, False), (120.0, True)])
def test_a_goal_may_be_what_a_ratio_must_reach(ours: float, holds: bool) -> None:
    assert figure([ours], [100.0], Goal(0.95, ">= 0.95 x peer", least=True)).holds is holds


@pytest.mark.parametrize(("ours", "holds"), [([29.0, 30.0, 31.0], True), ([30.01], False), ([], None)])
def test_an_absolute_goal_is_about_ours_alone(ours: list[float], holds: bool | None) -> None:
    goal = Goal(30, "<= 30 MB", absolute=True)
    assert figure(ours, [], goal).holds is holds
    assert figure(ours, [1.0], goal).holds is holds


@pytest.mark.parametrize(
    ("said", "version"),
    [("go1.26.8\n", (1, 26)), ("go1.9", (1, 9)), ("go2.0", (2, 0)), ("devel +abc", (0, 0)), ("", (0, 0))],
)
def test_the_version_of_go_is_compared_as_numbers(said: str, version: tuple[int, int]) -> None:
    assert version_of(said) == version
