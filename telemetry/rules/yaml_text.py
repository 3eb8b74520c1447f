"""Values to YAML text: the same text for equal values, keys in the order given."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML

_WIDEST = 1 << 16
"""Characters: an expression stays on one line, so that a difference of two renderings shows whole rules."""


def dump(value: Any, head: str) -> str:
    """Return a value as block-style YAML under a comment line."""
    yaml = YAML()
    yaml.width = _WIDEST
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.default_flow_style = False
    text = StringIO()
    yaml.dump(value, text)
    return f"# {head}\n{text.getvalue()}"
