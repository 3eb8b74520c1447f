"""Compose files as text: read as values, written with their tags."""

from collections.abc import Iterable
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.representer import RoundTripRepresenter

from legation.compose.project import BadCompose
from legation.compose.tags import Override, Replacing, Reset

_WIDEST = 1 << 16

HEAD = """\
# Written by `legation render compose` for docker compose 2.24.4 or later: change mesh.yaml and write it anew.
# With it:     docker compose {files} -f {own} up
# Without it, everything is as it was.
"""


def read(text: str, file: str) -> Any:
    """Return a file's content; BadCompose, with line and column, when it is no YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.add_constructor(None, _plain)
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise BadCompose(f"{place}: {error.problem or error.context}") from error


def _plain(constructor: Any, node: Node) -> Any:
    """Return the value of a node with a tag of compose's own: `!override`, or `!reset`, which leaves nothing of it."""
    is_reset = node.tag == "!reset"
    if isinstance(node, MappingNode):
        return Override({} if is_reset else constructor.construct_mapping(node, deep=True))
    if isinstance(node, SequenceNode):
        return Replacing([] if is_reset else constructor.construct_sequence(node, deep=True))
    return constructor.construct_scalar(node)


def write(override: Any, files: Iterable[str], own: str) -> str:
    """Return an override as text; `files` are those that it goes over, `own` is its name."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = _WIDEST
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.default_flow_style = False
    text = StringIO()
    yaml.dump(override, text)
    return HEAD.format(files=" ".join(f"-f {file}" for file in files), own=own) + text.getvalue()


class _Representer(RoundTripRepresenter):
    """Writes our tags, and null as nothing."""


def _override(representer: Any, value: Override) -> Node:
    return representer.represent_mapping("!override", value, flow_style=False)  # type: ignore[no-any-return]


def _reset(representer: Any, value: Reset) -> Node:
    return representer.represent_sequence("!reset", list(value), flow_style=True)  # type: ignore[no-any-return]


_Representer.add_representer(Override, _override)
_Representer.add_representer(Reset, _reset)
