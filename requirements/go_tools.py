"""`python requirements/go_tools.py NAME`: builds requirements/NAME's tool with the machine's Go, once a version."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "build" / "go"
OLDEST = (1, 26)


class CannotBuild(Exception):
    """There is no Go that could build it; says what to install."""


def build(name: str) -> Path:
    """Return the program, built where this version of it has not been; CannotBuild without a fit Go."""
    module = (HERE / name / "go.mod").read_text()
    tools = re.findall(r"^tool (\S+)$", module, re.MULTILINE)
    required = re.findall(r"^\s+(\S+) (v\S+)", module, re.MULTILINE)
    # Without a tool it is a program of our own, around the first module that it requires.
    tool, modules = (tools[0], [p for p, _ in required if f"{tools[0]}/".startswith(f"{p}/")]) if tools else (".", [])
    version = dict(required)[modules[0] if modules else required[0][0]]
    program = BUILT / f"{name}-{version}"
    if not program.exists():
        fresh = program.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run([_go(name), "build", "-trimpath", "-o", fresh, tool], cwd=HERE / name, check=True)
        fresh.rename(program)
    return program


def _go(name: str) -> str:
    go = shutil.which("go")
    said = subprocess.run([go, "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout if go else ""
    version = re.match(r"go(\d+)\.(\d+)", said)
    if go is None or version is None or (int(version[1]), int(version[2])) < OLDEST:
        raise CannotBuild(
            f"{name} is built with Go {OLDEST[0]}.{OLDEST[1]} or newer, which is missing: https://go.dev/dl"
        )
    return go


if __name__ == "__main__":
    try:
        print(build(sys.argv[1]))  # noqa: T201
    except CannotBuild as error:
        sys.exit(f"legation: {error}")
