"""`rootfs.py OUT SITE...`: this Python and what some folders need of the machine, as the whole content of an image.

No shell, no package manager: the interpreter, its standard library, and the shared libraries that these and the
folders are linked with, each at the place where it is here. Python files are there once, compiled: that starts sooner
than from source. Runs in a stage of the Dockerfile.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

UNUSED = (
    *("__phello__", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib2to3", "msilib", "multiprocessing"),
    *("pydoc_data", "site-packages", "sqlite3", "test", "tests", "tkinter", "turtledemo", "unittest", "venv"),
    *("wsgiref", "xml", "xmlrpc", "__pycache__", "config-3*", "*.a", "*.exe", "*.txt"),
    # programs and modules of theirs
    *("doctest.py", "pdb.py", "pydoc.py", "turtle.py"),
    # compiled ones, some of which bring large libraries
    *("_codecs_*", "_crypt.*", "_curses*", "_dbm.*", "_gdbm.*", "_sqlite3.*", "_test*", "_tkinter.*", "_xx*"),
    *("audioop.*", "nis.*", "ossaudiodev.*", "readline.*", "xx*.so"),
)
"""Of the standard library: what no sidecar imports (tests/compose sees one run without it)."""

UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
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


def compile_all(folder: Path) -> None:
    """Have each Python file compiled in its own place, under the name that the image gives it.

    Without docstrings, which nobody reads there and which weigh 1 MB of each sidecar's memory.
    """
    compileall.compile_dir(folder, legacy=True, quiet=2, stripdir=str(folder), invalidation_mode=UNCHECKED, optimize=2)
    for source in folder.rglob("*.py"):
        if source.with_suffix(".pyc").exists():
            source.unlink()


def main(out: Path, folders: list[Path]) -> None:
    """Gather it all."""
    python, stdlib = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, out / stdlib.relative_to("/"), ignore=shutil.ignore_patterns(*UNUSED))
    linked = [python, *out.rglob("*.so"), *(f for folder in folders for f in folder.rglob("*.so*"))]
    linked += [f for folder in folders for f in folder.rglob("_bin/*")]
    for folder in folders:
        compile_all(folder)
    compile_all(out)
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
