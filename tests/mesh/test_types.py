"""Durations and the wording of values."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legation.mesh import names
from legation.mesh.types import format_duration, parse_duration
from legation.mesh.wording import among, dotted, either, kind, shown


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0s", 0), ("250ms", 250), ("1.5s", 1500), ("0.001s", 1), ("10m", 600_000), ("1h", 3_600_000), ("0.5m", 30_000)],
)
def test_a_duration_is_a_number_with_its_unit(text, milliseconds):
    assert parse_duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    "text", ["", "1", "s", "-1s", "1 s", "1S", "1d", "٣s", "1.s", ".5s", "1s\n", "0.1ms", "8761h", "1" * 5000 + "s"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"no duration|finer than a millisecond|above the maximum 8760h"):
        parse_duration(text)


@given(st.integers(0, 365 * 24 * 3_600_000))
def test_a_duration_is_written_as_it_is_read(milliseconds):
    time = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(time)) == time


@given(st.from_regex(names.NAME_PATTERN, fullmatch=True), st.from_regex(names.NAME_PATTERN, fullmatch=True))
def test_no_two_services_share_their_variables(one, other):
    """So that no rule has to refuse two names: a name has no underscore and no capitals."""
    assert (names.env_prefix(one) == names.env_prefix(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (12, "12"), (1.5, "1.5"), ("a\n", r"'a\n'"), ([1], "a list"), ({}, "a mapping")],
)
def test_values_are_shown_as_yaml_has_them(value, text):
    assert shown(value) == text


def test_long_values_are_cut():
    assert shown("x" * 100) == f"'{'x' * 60}…'"


def test_choices_are_a_sentence():
    assert [either(("a",)), either(("a", "b")), either(("a", "b", "c"))] == ["a", "a or b", "a, b or c"]


def test_the_nearest_word_comes_first_and_many_are_cut():
    assert among("ordrs", ["web", "orders"]) == ", did you mean orders? known here: web, orders"
    assert among("zzz", [f"a{i}" for i in range(30)]).endswith("a24, …")


def test_odd_keys_are_quoted_in_paths():
    assert dotted(("services", "a b", "routes", 0, "x-y")) == "services['a b'].routes[0].x-y"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "empty"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("1", "text"),
        ([], "a list"),
        ({}, "a mapping"),
    ],
)
def test_kinds_of_values_are_named_as_people_name_them(value, said):
    assert kind(value) == said
