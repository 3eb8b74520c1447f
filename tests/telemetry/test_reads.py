"""Which groups a test of rules evaluates: table of what reads what."""

import pytest

from telemetry.rules.reads import closure
from telemetry.rules.rule import Alert, Group, Recording, Term


def alert(name: str, signal: str) -> Alert:
    return Alert(name, (Term(signal, "> 1"),), "ticket", "", "", "", ())


GROUPS = (
    Group("raw", (Recording("a:rate", "rate(a[5m])"), Recording("b:rate", "rate(b[5m])"))),
    Group("unread", (Recording("c:rate", "rate(c[5m])"),)),
    Group("ratios", (Recording("a:ratio", "a:rate / on (x) (a:rate offset 1h)"),)),
    Group("alerts", (alert("ARatio", "a:ratio"), alert("CRate", "c:rate"))),
    Group("more", (alert("Raw", "a"),)),
)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["ARatio"], ["raw", "ratios", "alerts"]),
        (["CRate"], ["unread", "alerts"]),
        (["Raw"], ["more"]),
        (["a:ratio", "c:rate"], ["raw", "unread", "ratios"]),
        ([], []),
    ],
)
def test_a_test_evaluates_its_own_group_and_what_that_reads(rules, expected):
    assert [group.name for group in closure(GROUPS, rules)] == expected


def test_what_a_story_begins_with_is_not_recorded_for_it():
    assert [group.name for group in closure(GROUPS, ["ARatio"], {"a:rate"})] == ["ratios", "alerts"]
