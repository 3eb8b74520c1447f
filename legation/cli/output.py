"""How the command speaks: data to stdout, chatter to stderr, one meaning for each exit code."""

import json
import os
import sys
from enum import StrEnum
from io import StringIO

import msgspec
import typer
from rich.console import Console
from ruamel.yaml import YAML

from legation.cli.leave import fail
from legation.runtime.console import Exit, chatter
from legation.runtime.control.messages import Message

__all__ = ["Exit", "Format", "chatter", "console", "fail", "write"]


class Format(StrEnum):
    """`-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console(*, stderr: bool = False) -> Console:
    """Return a console that is plain where nobody looks, or where NO_COLOR asks for it."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    no_color = True if os.environ.get("NO_COLOR") else None
    return Console(stderr=stderr, highlight=False, no_color=no_color, width=width)


def write(message: Message, form: Format) -> None:
    """Write a message as JSON or YAML."""
    data = msgspec.to_builtins(message)
    if form is Format.JSON:
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(data, text)
    sys.stdout.write(text.getvalue())


def seconds(text: str) -> float:
    """Return how long to wait, as the command line says it: inf is without a limit, nan is nothing."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise typer.BadParameter(f"{text!r}: seconds, a number from 0 on")
    return value
