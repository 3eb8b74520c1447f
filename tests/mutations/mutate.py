"""`make mutate`: breaks each rule of mutations.toml in a copy, and shows that the tests that it names see it."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutations.toml")
LIMIT = 120.0
"""Seconds that a broken rule may keep its tests busy; one that hangs is seen too."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule, where it is in the code, how it is broken, and which tests see that."""

    rule: str
    file: str
    old: str
    new: str
    killed_by: list[str]


def mutations() -> list[Mutation]:
    return [Mutation(**fields) for fields in tomllib.loads(LIST.read_text())["mutation"]]


def passes(folder: Path, tests: list[str]) -> bool:
    """Say whether tests pass in a copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, timeout=LIMIT, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def copied() -> Iterator[Path]:
    """Yield a copy of what the tests of the protocol need."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("xds_server", "legation", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        yield folder


def main() -> int:
    """Print a line a mutation; 1 when one survives, or tests fail without any."""
    survived = 0
    with copied() as folder:
        if not passes(folder, sorted({test for mutation in mutations() for test in mutation.killed_by})):
            print("the tests fail without any mutation")  # noqa: T201 - a program
            return 1
        for mutation in mutations():
            path = folder / mutation.file
            whole = path.read_text()
            path.write_text(whole.replace(mutation.old, mutation.new))
            seen = not passes(folder, mutation.killed_by)
            path.write_text(whole)
            survived += not seen
            print(  # noqa: T201 - a program
                f"{'killed' if seen else 'SURVIVED':8} {mutation.rule}", flush=True
            )
    print(f"{len(mutations()) - survived} of {len(mutations())} mutations killed")  # noqa: T201 - a program
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
