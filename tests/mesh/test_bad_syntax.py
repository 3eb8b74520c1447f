# ruff: noqa: E501  a message is one line, and is shown as it is
"""Texts that are no YAML, or no mesh at all: all that is said about each."""

import pytest

from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load

HEAD = "mesh: shop\ntrust_domain: shop.local\nservices:\n"
WEB = HEAD + "  web: {protocol: http, port: 8080}\n"


BAD = {
    "an empty file": (
        "",
        [
            "mesh.yaml:1:1: the file is empty: write a mapping of mesh, trust_domain, services, external, mtls, passthrough, certificates, tracing, metrics, prometheus, logging, dynamic_modules, workloads"
        ],
    ),
    "only comments": (
        "# nothing yet\n",
        [
            "mesh.yaml:1:1: the file is empty: write a mapping of mesh, trust_domain, services, external, mtls, passthrough, certificates, tracing, metrics, prometheus, logging, dynamic_modules, workloads"
        ],
    ),
    "a list at the top": (
        "- web\n",
        [
            "mesh.yaml:1:1: this is a list: write a mapping of mesh, trust_domain, services, external, mtls, passthrough, certificates, tracing, metrics, prometheus, logging, dynamic_modules, workloads"
        ],
    ),
    "text at the top": (
        "hello\n",
        [
            "mesh.yaml:1:1: this is text: write a mapping of mesh, trust_domain, services, external, mtls, passthrough, certificates, tracing, metrics, prometheus, logging, dynamic_modules, workloads"
        ],
    ),
    "two documents": (
        WEB + "---\n" + WEB,
        ["mesh.yaml:5:1: a second document begins here: one file holds one mesh"],
    ),
    "a tab as indentation": (
        HEAD + "\tweb: {}\n",
        ["mesh.yaml:4:1: no YAML: a tab cannot stand here: indent with spaces"],
    ),
    "an unclosed quote": (
        "mesh: 'shop\ntrust_domain: shop.local\n",
        ["mesh.yaml:1:7: no YAML: this quote is not closed"],
    ),
    "an unclosed list": (
        HEAD + "  web: {protocol: http, port: 8080, calls: [a\n  orders: {}\n",
        ["mesh.yaml:5:9: no YAML: a ',' or ']' is missing before ':', in what begins at 4:44"],
    ),
    "a list that never ends": (
        "mesh: [shop",
        ["mesh.yaml:1:12: no YAML: the file ends inside of a list or a mapping, in what begins at 1:7"],
    ),
    "a key without a colon": (
        "mesh: shop\ntrust_domain\nservices: {}\n",
        ["mesh.yaml:2:1: no YAML: this line has no ':' after its key"],
    ),
    "a colon in plain text": (
        "mesh: shop: it\n",
        ["mesh.yaml:1:11: no YAML: a ':' cannot stand here: check the indentation, or put the text in quotes"],
    ),
    "lines that do not line up": (
        HEAD + "   web: {protocol: http, port: 8080}\n  orders: {}\n",
        ["mesh.yaml:5:3: no YAML: this does not fit the lines above: check the indentation"],
    ),
    "a value that begins with a reserved character": (
        "mesh: @shop\n",
        ["mesh.yaml:1:7: no YAML: a value cannot begin with @: put it in quotes"],
    ),
    "a comma without a value": (
        "mesh: [,]\n",
        ["mesh.yaml:1:8: no YAML: a value is missing before ','"],
    ),
    "an escape beyond Unicode": (
        'mesh: "\\UFFFFFFFF"\n',
        ["mesh.yaml:1:5: no YAML: what follows cannot be read: check its escapes and directives"],
    ),
    "an unknown escape": (
        'mesh: "\\q"\n',
        ["mesh.yaml:1:9: no YAML: found unknown escape character 'q'"],
    ),
    "a YAML of the future": (
        "%YAML 1.3\n---\nmesh: shop\n",
        ["mesh.yaml:1:1: no YAML: what follows cannot be read: check its escapes and directives"],
    ),
    "a NUL character": (
        "mesh: sh\0op\n",
        ["mesh.yaml:1:9: the character '\\x00' cannot stand in YAML"],
    ),
    "half of a character": (
        WEB.replace("shop.local", '"\\ud800"'),
        ["mesh.yaml:2:15: trust_domain: '\\ud800' holds half of a character: escape the whole one with \\U"],
    ),
    "more than a million characters": (
        "#" * 1_000_001,
        ["mesh.yaml:1:1: more than 1000000 characters: put less in one file"],
    ),
    "endless nesting": (
        "[" * 100_000,
        ["mesh.yaml:1:52: lists and mappings are more than 50 levels deep"],
    ),
    "an alias without an anchor": (
        "mesh: *shop\n",
        ["mesh.yaml:1:7: mesh: the alias *shop has no anchor before it"],
    ),
    "an alias to itself": (
        "mesh: &a [*a]\n",
        ["mesh.yaml:1:11: mesh[0]: the alias *a refers to itself"],
    ),
    "a few aliases that stand for millions": (
        "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10) if i else 'x'}]\n" for i in range(8)),
        ["mesh.yaml:1:5: aliases repeat more than 10000 values or go more than 50 levels deep: write less with them"],
    ),
    "an unknown tag": (
        WEB.replace("mesh: shop", "mesh: !secret shop"),
        ["mesh.yaml:1:7: mesh: the tag !secret is not known: write a plain value"],
    ),
    "a key given twice": (
        WEB + "mesh: other\n",
        ["mesh.yaml:5:1: mesh: given twice, first at 1:1"],
    ),
    "a service given twice": (
        WEB + "  web: {protocol: http, port: 8081}\n",
        ["mesh.yaml:5:3: services.web: given twice, first at 4:3"],
    ),
    "a key that is a number": (
        WEB + "  8080: {protocol: http, port: 8080}\n",
        ['mesh.yaml:5:3: services: the key 8080 is no text: put it in quotes, "8080"'],
    ),
    "a key that is a list": (
        "[a, b]: c\n",
        ["mesh.yaml:1:1: a list or a mapping cannot be a key: write a word"],
    ),
    "a merge of no mapping": (
        HEAD + "  web: {<<: 5, protocol: http, port: 8080}\n",
        ["mesh.yaml:4:13: services.web['<<']: only mappings can be merged"],
    ),
}


@pytest.mark.parametrize(("text", "messages"), BAD.values(), ids=BAD)
def test_every_fault_is_told_with_its_place(text, messages):
    with pytest.raises(InvalidMesh) as caught:
        load(text, "mesh.yaml")
    assert str(caught.value).split("\n") == messages
