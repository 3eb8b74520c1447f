"""How the command speaks: data to stdout, chatter to stderr, one meaning for each exit code."""

import json
import os
import sys
from enum import IntEnum, StrEnum
from io import StringIO

import msgspec
import typer
from rich.console import Console
from ruamel.yaml import YAML

from legation.runtime.control.messages import Message


class Exit(IntEnum):
    """What an exit code means, in every output format (design §8)."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    FINDINGS = 3
    UNREACHABLE = 4
    TIMEOUT = 5


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


def chatter(text: str) -> None:
    """Say something to a person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def fail(code: Exit, text: str) -> typer.Exit:
    """Say what is wrong and return the exit to raise."""
    chatter(text)
    return typer.Exit(int(code))


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
