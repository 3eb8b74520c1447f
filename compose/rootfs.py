"""`rootfs.py OUT SITE...`: this Python and what some folders need of the machine, as the whole content of an image.

No shell, no package manager: the interpreter, its standard library, and the shared libraries that these and the
folders are linked with, each at the place where it is here. Runs in a stage of the Dockerfile.
"""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

UNUSED = (
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
    "venv",
)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def libraries(files: Iterable[Path]) -> Iterator[Path]:
    """Yield what the dynamic linker would load for some programs and libraries."""
    for file in files:
        said = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout  # noqa: S607
        for word in said.split():
            if word.startswith("/"):
                yield Path(word)


def copy(path: Path, out: Path) -> None:
    """Copy a file to the same place below `out`, as what it is, not as a link."""
    target = out / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(path, target)


def main(out: Path, folders: list[Path]) -> None:
    """Gather it all."""
    python, stdlib = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, out / stdlib.relative_to("/"), ignore=shutil.ignore_patterns(*UNUSED, "config-3*", "*.a"))
    linked = [python, *stdlib.rglob("*.so"), *(f for folder in folders for f in folder.rglob("*.so*"))]
    linked += [f for folder in folders for f in folder.rglob("_bin/*")]
    for file in {python, *libraries(linked)}:
        copy(file, out)
    if CERTIFICATES.exists():
        copy(CERTIFICATES, out)
    for name in ("python3", "python"):
        link = out / "usr/bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(python)
    (out / "tmp").mkdir(mode=0o1777)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
