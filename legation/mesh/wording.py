"""How violations are worded: values as the operator knows them, lists of choices, near misses."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_LONGEST = 60
_MOST = 25


def shown(value: Any) -> str:
    """Return a value of mesh.yaml as a message shows it: text in quotes, cut when long, lists and mappings by kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return str(value)


def kind(value: Any) -> str:
    """Return what a value of mesh.yaml is, in the words of someone who writes YAML."""
    match value:
        case None:
            return "empty"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def either(choices: Iterable[str]) -> str:
    """Return `a`, `a or b`, `a, b or c`."""
    *firsts, last = choices
    return f"{', '.join(firsts)} or {last}" if firsts else last


def among(unknown: str, known: Iterable[str]) -> str:
    """Return what could stand in the place of an unknown word: the nearest one first, then (at most 25) known ones."""
    words = tuple(known)
    near = get_close_matches(unknown[:_LONGEST], words, n=1)
    more = ", …" if len(words) > _MOST else ""
    return (f", did you mean {near[0]}?" if near else ",") + f" known here: {', '.join(words[:_MOST])}{more}"


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as messages show it: `services.orders.routes[0].retry`; odd keys in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and all(char.isalnum() or char in "-_" for char in part) and len(part) <= _LONGEST:
            text += f".{part}"
        else:
            text += f"[{shown(part)}]"
    return text.removeprefix(".")
