"""The JSON Schema of mesh.yaml: for editors, and for violations that say what would be accepted."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from legation.mesh.model.mesh import Mesh
from legation.mesh.types import PHRASES, format_duration
from legation.mesh.wording import either

SchemaNode = Mapping[str, Any]
"""A part of the schema."""


class _Generate(GenerateJsonSchema):
    """Writes defaults as an operator would: `15s`, not `PT15S`."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return format_duration(dft)
        return {} if isinstance(dft, BaseModel) else super().encode_default(dft)


@cache
def schema() -> SchemaNode:
    """Return the JSON Schema (2020-12) of mesh.yaml, as values."""
    raw = Mesh.model_json_schema(schema_generator=_Generate)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mesh.yaml", **_tidy(raw)}


def json_schema() -> str:
    """Return the schema as text: what docs/mesh.schema.json holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def at(path: Iterable[str | int]) -> SchemaNode | None:
    """Return the part of the schema for a path of mesh.yaml, or None where nothing may stand."""
    node: SchemaNode | None = schema()
    for step in path:
        node = None if node is None else _into(node, step)
    return node


def fields(node: SchemaNode) -> tuple[str, ...]:
    """Return the names of the fields that a mapping may hold; none where it may hold any (or is no mapping)."""
    return tuple(_mapping(node).get("properties", ()))


def expected(node: SchemaNode) -> str:
    """Return what is accepted in a place, in words: `a whole number from 1 to 65535`, `http or grpc`."""
    if "anyOf" in node:
        return either(expected(choice) for choice in node["anyOf"])
    node = _resolve(node)
    return _expected_text(node) if node["type"] == "string" else _expected_more(node)


def _expected_text(node: SchemaNode) -> str:
    if "enum" in node:
        return either(node["enum"])
    return PHRASES[node["pattern"]] if "pattern" in node else "an IPv4 address such as 127.0.0.1, or 0.0.0.0 for all"


def _expected_more(node: SchemaNode) -> str:
    match node:
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "integer"}:
            return f"a whole number from {node['minimum']} to {node['maximum']}"
        case {"type": "number"}:
            return f"a number from {node['minimum']} to {node['maximum']}"
        case {"type": "array", "items": items}:
            return f"a list, each entry {expected(items)}"
        case {"properties": properties}:
            return f"a mapping of {', '.join(properties)}"
        case _:
            return f"a mapping, each key {PHRASES[node['propertyNames']['pattern']]}"


def example(node: SchemaNode) -> Any:
    """Return the smallest value that is accepted in a place."""
    match node:
        case {"$ref": _}:
            return example(_resolve(node))
        case {"anyOf": [first, *_]}:
            return example(first)
        case (
            {"enum": [first, *_]}
            | {"examples": [first, *_]}
            | {"minimum": first}
            | {"type": "boolean", "default": first}
        ):
            return first
        case {"type": "array"}:
            return [example(node["items"])] * node.get("minItems", 0)
        case {"properties": properties}:
            return {name: example(properties[name]) for name in node.get("required", ())}
        case _:
            return {}


def _resolve(node: SchemaNode) -> SchemaNode:
    found: SchemaNode = schema()["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found


def _mapping(node: SchemaNode) -> SchemaNode:
    """Return the mapping among the choices of a place, or the place itself."""
    choices = [_resolve(choice) for choice in node.get("anyOf", (node,))]
    return next((choice for choice in choices if choice.get("type") == "object"), choices[0])


def _into(node: SchemaNode, step: str | int) -> SchemaNode | None:
    if isinstance(step, int):
        items: SchemaNode | None = node.get("items")
        return items
    whole = _mapping(node)
    inner = whole.get("properties", {}).get(step, whole.get("additionalProperties"))
    return inner or None


def _tidy(node: Any) -> Any:
    """Drop what pydantic adds and no operator may write (null), and say keys' patterns as rules for all keys."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _tidy(value) for key, value in node.items() if not _noise(key, value)}
    if "patternProperties" in kept:
        ((pattern, value),) = kept.pop("patternProperties").items()
        kept |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    choices = [choice for choice in kept.pop("anyOf", ()) if choice != {"type": "null"}]
    return {**choices[0], **kept} if len(choices) == 1 else {**kept, **({"anyOf": choices} if choices else {})}


def _noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
