"""The command in this process: quicker than one of its own, and its lines count as run."""

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner

from legation.cli.main import app


def legation(
    *words: str, folder: Path | None = None, env: Mapping[str, str] | None = None, typed: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder, with these variables besides; an unexpected error is raised here."""
    with contextlib.chdir(folder) if folder else contextlib.nullcontext():
        done = CliRunner().invoke(app, list(words), env=env, input=typed)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
