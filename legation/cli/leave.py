"""How a command leaves before its end."""

import typer

from legation.runtime.console import Exit, chatter


def fail(code: Exit, text: str) -> typer.Exit:
    """Say what is wrong and return the exit to raise."""
    chatter(text)
    return typer.Exit(int(code))
