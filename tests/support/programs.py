"""Fake programs under the names that our own code starts, and waits for what they bring about."""

import sys
from collections.abc import Callable
from pathlib import Path

from legation.runtime.tasks import until

ROOT = Path(__file__).parents[2]


def fake(module: str) -> str:
    """Return how a shell starts one of the fake programs: without site-packages, which they do not need."""
    return f"cd {ROOT} && exec {sys.executable} -S -m tests.support.{module}"


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def fake_python(path: Path) -> Path:
    """Return a `python` that starts a fake `legation run`, and for our services something that only waits."""
    return script(path, f'case "$2" in\nlegation.sidecar) {fake("fake_run")} "$3" ;;\n*) exec sleep infinity ;;\nesac')


async def eventually(what: str, condition: Callable[[], object], limit: float = 20) -> None:
    """Wait until a condition holds; an error that names `what` after `limit` seconds."""

    async def holds() -> bool:
        return bool(condition())

    assert await until(holds, limit, every=0.01), f"not within {limit:.0f} s: {what}"
