"""`python -m legation.cli.run_alone run …`: the command `run` where nothing else of the command is, as in an image.

The words are those of `run` itself, read without what typer loads to read them, which is larger than all of a sidecar.
"""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from legation.cli.run_command import run


def parser() -> argparse.ArgumentParser:
    """Return what reads the words of `run`."""
    made = argparse.ArgumentParser(prog="legation run", description=run.__doc__, allow_abbrev=False)
    defaults = {name: parameter.default for name, parameter in inspect.signature(run).parameters.items()}
    for name, hint in get_type_hints(run, include_extras=True).items():
        match get_args(hint):
            case (kind, OptionInfo() as option):
                _add(made, name, kind, option, defaults[name])
            case (_, ArgumentInfo() as argument):
                made.add_argument(name, nargs=argparse.REMAINDER, help=argument.help)
    return made


def _add(made: argparse.ArgumentParser, name: str, kind: Any, option: OptionInfo, default: Any) -> None:
    """Add an option: its value is text, a number or a path, or, where it may be given several times, a list of one."""
    (plain, *_) = [part for part in get_args(kind) if part is not type(None)] or [kind]
    if listed := get_args(plain):
        plain = listed[0]
    is_needed = default is inspect.Parameter.empty
    # inside of Annotated the first of its names is where typer has the default otherwise
    spellings = [str(option.default), *(option.param_decls or ())]
    made.add_argument(
        *spellings,
        dest=name,
        type=plain,
        action="append" if listed else "store",
        default=None if is_needed else default,
        required=is_needed,
        help=option.help,
    )


def words(given: Sequence[str]) -> Mapping[str, Any]:
    """Return the arguments of `run` that words say; what ends options is no word of the app's command."""
    found = vars(parser().parse_args(given))
    command = found["command"]
    return {**found, "command": command[1:] if command[:1] == ["--"] else command}


def main(given: Sequence[str]) -> int:
    """Run what the command line says; return the exit code."""
    if given[:1] != ["run"]:
        sys.stderr.write("here is `run` alone: run --service NAME …\n")
        return 2
    try:
        run(**words(given[1:]))
    except typer.Exit as end:
        return end.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
