"""The quick parser makes of a text what the thorough one makes of it, each value in its place, or leaves it alone."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bench import world
from legation.mesh import document
from legation.mesh.errors import InvalidMesh
from legation.mesh.quick_syntax import Unclear, quick_events

_PARTS = (
    *("a", "svc-0", "1.5", "null", "~", "é", "\U0001f600", "http://x:80/y", "x y", "a: b", "k: {a: 1, b: [c, d]}"),
    *(": ", ":", ",", "[", "]", "{", "}", "- ", "-", "?", "%", "@", "`", "=", "<<: ", "---\n", "...\n", " ", "\t"),
    *("\n", "\n ", "\n  ", "\n    ", "\n- ", "# c", " #", "'x'", '"y"', "''", "'it''s'", '"\\n\\x41"'),
    *("&a ", "*a ", "!!str ", "! ", "|\n  t\n", ">-\n  t\n", "| \n# c", "\x85", "\u2028"),
)


def _thorough(text: str) -> document.Document | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_quick_tree", lambda text, file: None)
        try:
            return document.read(text, "mesh.yaml")
        except InvalidMesh:
            return None


@given(st.lists(st.sampled_from(_PARTS), max_size=14).map("".join))
@example("a---\n...\n...\n")
def test_any_yaml_means_the_same_to_both(text):
    tree = document._quick_tree(text, "mesh.yaml")
    if tree is not None:
        assert _thorough(text) == document.read(text, "mesh.yaml")


@pytest.mark.parametrize("text", [Path("examples/shop/mesh.yaml").read_text(), world.ring(30, 5)], ids=["shop", "ring"])
def test_files_as_people_write_them_are_read_quickly_and_as_by_the_other(text):
    assert document._quick_tree(text, "mesh.yaml") is not None
    assert _thorough(text) == document.read(text, "mesh.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a:\n\tb: c",
        "a: x\x85y",
        "a: x\u2028y",
        "%YAML 1.1\n---\na: b",
        "a---\n...\n...\n",
        "a: !!str 1",
        "a: &x 1\nb: *x",
        "a: |\n  text",
        "a: >\n  text",
        "? a\n: b",
        "- a\n-\n- b",
        "a: [b",
    ],
)
def test_what_the_two_may_take_otherwise_is_left_to_the_other(text):
    with pytest.raises(Unclear):
        list(quick_events(text))


def test_without_libyaml_all_is_left_to_the_other(monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    with pytest.raises(Unclear):
        list(quick_events("a: b"))
    assert {"a": "b"} == document.read("a: b", "mesh.yaml").value


def test_a_text_with_a_fault_is_told_by_the_other():
    assert document._quick_tree("a: 1\na: 2", "mesh.yaml") is None
    assert document._quick_tree("[" * 60, "mesh.yaml") is None
    assert "given twice" in document.read("a: 1\na: 2", "mesh.yaml").violations[0].message
