"""Plain scalars mean what YAML 1.2's core schema says, and texts stay texts."""

import math

import pytest

from legation.mesh.document import read
from legation.mesh.limits import LONGEST_TEXT
from legation.mesh.nodes import scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("12", 12),
        ("-012", -12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("9" * 401, math.inf),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        (".INF", math.inf),
        ("-.inf", -math.inf),
        ("2024-01-01", "2024-01-01"),
        ("250ms", "250ms"),
        ("v1.2", "v1.2"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text, value):
    assert (scalar(text), type(scalar(text))) == (value, type(value))


def test_not_a_number_is_a_number():
    assert math.isnan(scalar(".nan"))


@pytest.mark.parametrize("text", ['"12"', "'12'", "!!str 12", "! 12", "|-\n  12"])
def test_a_quoted_or_tagged_number_is_text(text):
    assert read(f"a: {text}\n", "mesh.yaml").value == {"a": "12"}


def test_a_tag_of_yaml_s_own_is_taken_as_plain():
    assert read("!!map {a: !!int '12', b: !!seq []}", "mesh.yaml").value == {"a": 12, "b": []}


def test_a_byte_order_mark_is_no_column():
    assert str(read("\ufeffa: 1", "f").positions[("a",)]) == "f:1:4"


def test_a_text_of_the_greatest_length_is_read():
    assert read("a: 1\n#".ljust(LONGEST_TEXT, "x"), "f").value == {"a": 1}


def test_ten_thousand_repeated_values_are_read():
    text = "a: &a [" + "x, " * 98 + "x]\nb: [" + "*a, " * 99 + "*a]\n"
    assert len(read(text, "f").value["b"]) == 100


def test_every_place_of_an_alias_is_known():
    positions = read("a: &a {b: [1]}\nc: *a\n", "f").positions
    assert {str(positions[path]) for path in [("a", "b", 0), ("c", "b", 0)]} == {"f:1:12"}
    assert str(positions[("c",)]) == "f:2:1"
