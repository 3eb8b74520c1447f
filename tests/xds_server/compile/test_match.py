"""How a row's path begins is asked before what costs more, and says no to nothing that the row is for."""

import re

import pytest

from legation.mesh.model.match import RouteMatch
from xds_server.compile.match import route_match


def asked(methods: tuple[str, ...] = (), **match) -> list[tuple[str, str]]:
    """Return what a row looks at before its path, in this order, with how the path must begin."""
    found = route_match(RouteMatch.model_validate(match), methods).headers
    return [(header.name, header.string_match.prefix) for header in found]


@pytest.mark.parametrize(
    ("pattern", "beginning", "fits"),
    [
        ("/v[0-9]+/.*", "/v", "/v1/a"),
        ("^/users/[^/]+", "/users/", "/users/7"),
        ("/api-v2/?", "/api-v2", "/api-v2"),
        ("/items*", "/item", "/item"),
        ("/items+", "/items", "/itemss"),
        ("/ab{0}/c", "/a", "/a/c"),
        (r"/a\.b", "/a", "/a.b"),
        ("/a(b|c)", None, "/ac"),
        ("/a/b|/c", None, "/c"),
        ("(?i)/a", None, "/A"),
        ("/?a", None, "a"),
        (".*", None, "/"),
        ("/naïve", "/na", "/naïve"),
    ],
)
def test_what_an_expression_matches_begins_with_what_is_plain_in_it(pattern, beginning, fits):
    found = asked(regex=pattern, headers={"x-a": "1"})
    assert found == [*([(":path", beginning)] if beginning else []), ("x-a", "")]
    assert re.fullmatch(pattern, fits)
    assert fits.startswith(beginning or "")


@pytest.mark.parametrize(
    ("template", "beginning"), [("/users/{id}", "/users/"), ("/a/*/b", "/a/"), ("/{id}/b", None), ("/**", None)]
)
def test_a_template_begins_with_what_is_before_its_first_name(template, beginning):
    found = asked(template=template, headers={"x-a": "1"})
    assert found == [*([(":path", beginning)] if beginning else []), ("x-a", "")]


def test_the_path_is_asked_first_and_the_method_before_headers():
    headers = {"x-a": {"prefix": "z"}}
    assert asked(path="/p", headers=headers) == [(":path", "/p"), ("x-a", "z")]
    assert asked(("GET", "PUT"), prefix="/p", headers=headers) == [(":path", "/p"), (":method", ""), ("x-a", "z")]
    assert asked(grpc={"service": "a.B"}, headers=headers) == [(":path", "/a.B/"), ("x-a", "z")]
    assert asked(grpc={"service": "a.B", "method": "C"}, headers=headers) == [(":path", "/a.B/C"), ("x-a", "z")]
    assert asked(prefix="/", headers=headers) == asked(headers=headers) == [("x-a", "z")]


def test_a_row_that_looks_at_no_header_asks_nothing_before_its_path():
    assert asked(("GET",), path="/p", query={"q": "1"}) == [(":method", "")]
    assert asked(template="/a/{b}") == asked(regex="/a.*") == []
