"""Go programs of the benches: built by the machine's own Go, into build/bench."""

import re
import shutil
import subprocess
from pathlib import Path

OLDEST = (1, 26)
BUILT = Path("build/bench")


class NoGo(Exception):
    """There is no Go that could build a peer; says what to install."""


def build(name: str) -> Path:
    """Return the program of bench/peers/NAME, built anew where its source has changed; NoGo without a fit Go."""
    go = shutil.which("go")
    if go is None:
        raise NoGo("not run: the peer and the client need Go 1.26 or newer (https://go.dev/dl)")
    found = subprocess.run([go, "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout
    if (version := version_of(found)) < OLDEST:
        raise NoGo(f"not run: Go {version[0]}.{version[1]} is too old, the peer needs 1.26 or newer")
    BUILT.mkdir(parents=True, exist_ok=True)
    program = (BUILT / name).resolve()
    subprocess.run([go, "build", "-trimpath", "-o", program, "."], cwd=Path(__file__).parent / name, check=True)
    return program


def version_of(said: str) -> tuple[int, int]:
    """Return (1, 26) of `go1.26.8`; (0, 0) of what is no version."""
    match = re.match(r"go(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)
