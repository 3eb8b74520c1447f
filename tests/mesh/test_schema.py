"""The JSON Schema: kept in docs/, complete, and of one mind with the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from legation.mesh.model.mesh import Mesh
from legation.mesh.schema import at, example, expected, fields, json_schema, schema
from legation.mesh.source import Path as FieldPath
from legation.mesh.types import PHRASES

KEPT = Path(__file__).parents[2] / "docs" / "mesh.schema.json"


def test_the_kept_schema_is_the_model_s(request, golden):
    if request.config.getoption("--update-golden"):
        KEPT.write_text(json_schema())
    assert KEPT.read_text() == json_schema(), "docs/mesh.schema.json differs: look, then run make golden"


def field(path: FieldPath) -> Mapping[str, Any]:
    """The schema of a field that there is."""
    found = at(path)
    assert found is not None
    return found


def test_every_pattern_is_told_in_words_and_every_phrase_is_used():
    assert {pattern for node in _nodes(schema()) if isinstance(pattern := node.get("pattern"), str)} == set(PHRASES)


def test_no_default_and_no_choice_is_null():
    assert "null" not in json_schema()


def test_durations_have_their_defaults_as_an_operator_writes_them():
    assert field(("services", "x", "routes", 0, "timeout"))["default"] == "15s"
    assert field(("certificates", "ttl"))["default"] == "1h"


def test_a_call_is_a_name_or_a_mapping():
    call = field(("services", "web", "calls", 0))
    assert [choice.get("type", "mapping") for choice in call["anyOf"]] == ["string", "mapping"]
    assert fields(call) == ("service", "allow")
    assert expected(call) == f"{expected(field(('mesh',)))} or a mapping of service, allow"


@pytest.mark.parametrize("path", [("slo",), ("mesh", "x"), ("services", "a", "b"), ("workloads", 0, "x", "y")])
def test_nothing_stands_where_no_field_is(path):
    assert at(path) is None


def test_the_smallest_example_is_a_mesh():
    with pytest.raises(ValidationError, match="services"):
        Mesh.model_validate(example(schema()))
    Mesh.model_validate(example(schema()) | {"services": {"web": example(field(("services", "web")))}})


def test_the_text_is_the_same_each_time():
    assert json.loads(json_schema()) == schema()
    assert json_schema() == json_schema()


def _nodes(node):
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(inner)
