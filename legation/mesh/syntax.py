"""YAML text as parser events, and what is wrong with a text that is no YAML, in plain words."""

import re
from collections.abc import Iterator, Mapping

from ruamel.yaml import YAML
from ruamel.yaml import events as ruamel
from ruamel.yaml.error import MarkedYAMLError
from yaml import events as plain

from legation.mesh.errors import InvalidMesh, Position, Violation
from legation.mesh.nodes import mark_position

_PROBLEMS: tuple[tuple[str, str], ...] = (
    (r"found character '\\t'", "a tab cannot stand here: indent with spaces"),
    (r"found character '(.)' that cannot start", r"a value cannot begin with \1: put it in quotes"),
    (r"mapping values are not allowed", "a ':' cannot stand here: check the indentation, or put the text in quotes"),
    (r"unexpected end of stream", "this quote is not closed"),
    (r"could not find expected ':'", "this line has no ':' after its key"),
    (r"(found|got) '<stream end>'", "the file ends inside of a list or a mapping"),
    (r"expected ',' or '(.)', but got '(.*)'", r"a ',' or '\1' is missing before '\2'"),
    (r"expected <block end>", "this does not fit the lines above: check the indentation"),
    (r"expected the node content, but found '(.*)'", r"a value is missing before '\1'"),
)
_AT_ITS_START = ("unexpected end of stream", "could not find expected ':'")
"""Problems that are found lines after the place that the operator must mend."""


def events(text: str, file: str) -> Iterator[plain.Event]:
    """Return the events of a YAML text, one by one; InvalidMesh where it stops to be YAML."""
    parsed = iter(YAML(typ="safe", pure=True).parse(text))
    here = Position(file, 1, 1)
    while True:
        try:
            event = next(parsed)
        except StopIteration:
            return
        except MarkedYAMLError as error:
            raise InvalidMesh([_violation(error, here)]) from error
        except Exception as error:  # tried: ruamel answers "\UFFFFFFFF" and "%YAML 1.3" with any class of error
            raise InvalidMesh(
                [Violation(here, "", "no YAML: what follows cannot be read: check its escapes and directives")]
            ) from error
        here = mark_position(event.end_mark, file)
        yield _plain(event)


def _plain(event: ruamel.Event) -> plain.Event:
    """Return an event as libyaml's binding has it, so that whoever reads events knows one kind."""
    marks = event.start_mark, event.end_mark
    match event:
        case ruamel.ScalarEvent():
            return plain.ScalarEvent(event.anchor, event.tag, event.implicit, event.value, *marks)
        case ruamel.SequenceStartEvent():
            return plain.SequenceStartEvent(event.anchor, event.tag, event.implicit, *marks)
        case ruamel.MappingStartEvent():
            return plain.MappingStartEvent(event.anchor, event.tag, event.implicit, *marks)
        case ruamel.AliasEvent():
            return plain.AliasEvent(event.anchor, *marks)
    return _OTHERS.get(type(event), plain.Event)(*marks)


_OTHERS: Mapping[type, type[plain.Event]] = {
    ruamel.DocumentStartEvent: plain.DocumentStartEvent,
    ruamel.SequenceEndEvent: plain.SequenceEndEvent,
    ruamel.MappingEndEvent: plain.MappingEndEvent,
}


def _violation(error: MarkedYAMLError, here: Position) -> Violation:
    problem = error.problem or "it cannot be read"
    early = any(text in problem for text in _AT_ITS_START)
    mark = error.context_mark if early and error.context_mark else error.problem_mark
    position = mark_position(mark, here.file) if mark else here
    for pattern, message in _PROBLEMS:
        if found := re.search(pattern, problem):
            return Violation(position, "", f"no YAML: {found.expand(message)}{_opened(error)}")
    return Violation(position, "", f"no YAML: {_one_line(problem)}")


def _opened(error: MarkedYAMLError) -> str:
    """Return where the list or mapping began that a bad line is still inside of."""
    mark = error.context_mark
    inside = mark and error.context and re.search(r"parsing a flow (sequence|mapping)", error.context)
    return f", in what begins at {mark.line + 1}:{mark.column + 1}" if mark and inside else ""


def _one_line(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")[:200] or "it cannot be read"
