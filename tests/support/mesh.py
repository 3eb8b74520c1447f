"""A whole mesh for tests: started as a newcomer does, asked as `legation status` does."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
LEGATION = (sys.executable, "-m", "legation.cli.main")


def legation(*words: str, check: bool = True, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
    """Run the command; its output is kept."""
    done = subprocess.run([*LEGATION, *words], capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    if check and done.returncode != 0:
        raise AssertionError(f"legation {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def wait_for[T](ask: "Callable[[], T | None]", limit: float, what: str) -> T:
    """Ask until there is an answer (not None, not False); an error that names `what` after `limit` seconds."""
    deadline = time.monotonic() + limit
    pause = 0.02
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        _ = _tick.wait(pause)
        pause = min(0.25, pause * 1.5)
    raise AssertionError(f"not within {limit:.0f} s: {what}")


@dataclass(frozen=True)
class Mesh:
    """A running mesh."""

    folder: Path
    state: Path

    @property
    def file(self) -> Path:
        """Its mesh.yaml, which may be edited."""
        return self.folder / "mesh.yaml"

    def status(self) -> dict[str, Any]:
        """What `legation status -o json` says."""
        done = legation("status", "--state", str(self.state), "-o", "json", check=False)
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]
