"""docs/features.md: a line for each thing that mesh.yaml can say, with the test that sees it through a real Envoy."""

import re
from pathlib import Path

from legation.mesh.schema import SchemaNode, schema

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| `(?P<path>[^`]+)` \| (?P<meaning>[^|]+) \| (?P<tests>[^|]+) \|")


def rows() -> list[re.Match[str]]:
    lines = (ROOT / "docs" / "features.md").read_text().splitlines()
    return [row for line in lines if (row := ROW.fullmatch(line))]


def test_every_field_of_the_schema_has_one_line():
    assert sorted(row["path"] for row in rows()) == sorted(field_paths(schema(), ""))


def test_every_line_says_what_the_field_means():
    assert [row["path"] for row in rows() if len(row["meaning"]) < 10] == []


def test_every_line_names_tests_that_exist():
    defined = set()
    for file in (ROOT / "tests").rglob("*.py"):
        defined |= set(re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE))
    named = {row["path"]: re.findall(r"`(test_\w+)`", row["tests"]) for row in rows()}
    assert {path: tests for path, tests in named.items() if not tests} == {}
    assert sorted({test for tests in named.values() for test in tests} - defined) == []


def field_paths(node: SchemaNode, path: str) -> list[str]:
    """Return the path of each field below a part of the schema: `services.<name>.routes[].timeout`."""
    if "$ref" in node:
        node = schema()["$defs"][node["$ref"].rpartition("/")[2]]
    found: list[str] = []
    for choice in node.get("anyOf", ()):
        found += field_paths(choice, path)
    for name, field in node.get("properties", {}).items():
        here = f"{path}.{name}".removeprefix(".")
        found += [here, *field_paths(field, here)]
    if "items" in node:
        found += field_paths(node["items"], f"{path}[]")
    if node.get("additionalProperties"):
        found += field_paths(node["additionalProperties"], f"{path}.<name>")
    return found
