"""Set this checkout up: .venv with what the lock files name, checked by hash, and the shop's npm packages.

Run by `make sync`, with any python3, hence no newer syntax here. Does nothing when nothing has changed.
Takes indexes and proxies from where pip and npm take them: PIP_*, npm_config_*, HTTPS_PROXY, their files.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SHOP = ROOT / "examples" / "shop"
LOCK = ROOT / "requirements" / "dev.txt"
STAMP = VENV / ".synced"
INPUTS = (LOCK, ROOT / "pyproject.toml", SHOP / "package-lock.json", SHOP / ".npmrc")
OLDEST, NEWEST = (3, 11), (3, 13)
RANGE = "3.11 to 3.13"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install")
DOWNLOAD = re.compile(r"Downloading (?:\S*/)?(\S+?)-(\d\S*?)-\S*\s+\(([\d.]+ MB)\)")
NO_NETWORK = re.compile(
    "ConnectionError|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|name resolution|Network is unreachable"
    "|timed out|SSLError|No matching distribution|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|ECONNRESET|EAI_AGAIN|CERT"
)


class Stop(Exception):
    """Something that only the reader can mend; the text says how."""


def say(text: str) -> None:
    """Say what is going on, at once."""
    sys.stdout.write(f"legation: {text}\n")
    sys.stdout.flush()


def version_of(python: "str | Path") -> "tuple[int, ...] | None":
    """Return a Python's (major, minor, micro), or None where it does not run."""
    code = "import sys; print(*sys.version_info[:3])"
    try:
        ran = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in ran.stdout.split())


def fits(version: "tuple[int, ...] | None") -> bool:
    """Say whether we run on this version of Python."""
    return version is not None and OLDEST <= version[:2] <= NEWEST


def choose_python() -> str:
    """Return a Python that fits: the one that runs this, else the newest on the PATH."""
    if fits(sys.version_info):
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and fits(version_of(found)):
            return found
    raise Stop(
        f"Python {platform.python_version()} ({sys.executable}) does not fit: Legation needs {RANGE}.\n"
        "  Install one (Debian 12 and 13 and Ubuntu 24.04 have it as python3), or name it: make sync PYTHON=/path/to/it"
    )


def check_platform() -> None:
    """Refuse where the stock binaries do not exist."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise Stop(f"{sys.platform} on {platform.machine()}: Legation runs on Linux, on x86-64 or arm64")


def stamp_of(version: "tuple[int, ...] | None") -> str:
    """Return a digest of all that an installation depends on, this folder's own path among it."""
    digest = hashlib.sha256(f"{ROOT} {version}".encode())
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_synced() -> bool:
    """Say whether .venv and the shop's packages are what the lock files name."""
    version = version_of(PYTHON)
    return (
        fits(version)
        and STAMP.is_file()
        and STAMP.read_text() == stamp_of(version)
        and (SHOP / "node_modules" / ".package-lock.json").is_file()
    )


def run(what: str, command: "list[str | Path]", way_out: str, cwd: Path = ROOT) -> None:
    """Run a command; show what it downloads, and its output only where it fails."""
    say(what)
    env = dict(os.environ, PYTHONUNBUFFERED="1")
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=str(cwd),
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
    )
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        found = DOWNLOAD.search(line)
        if found:
            say("  {} {}, {}".format(*found.groups()))
    if process.wait() != 0:
        raise Stop(failure(what, lines, way_out))


def failure(what: str, lines: "list[str]", way_out: str) -> str:
    """Return what to tell about a command that failed."""
    text = "\n".join(lines)
    if "DO NOT MATCH THE HASHES" in text:
        way_out = "A package is not the one that was locked. Do not go on: ask where your index has it from."
    elif "No space left" in text:
        way_out = "The disk is full: make room (about 1 GB), then run make sync again."
    elif not NO_NETWORK.search(text):
        way_out = "The output above says why."
    shown = [line for line in lines if line and "Retrying (" not in line][-12:]
    return "\n".join([f"failed: {what}", *("    " + line[:200] for line in shown), "  " + way_out])


def make_venv() -> None:
    """Make .venv, unless there is one that fits."""
    if fits(version_of(PYTHON)) and (VENV / "bin" / "pip").exists():
        return
    python = choose_python()
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0:
        raise Stop(f"{python} cannot make a .venv: install python3-venv (sudo apt-get install python3-venv)")
    version = ".".join(str(part) for part in version_of(python))
    run(f"making .venv with Python {version}", [python, "-m", "venv", "--clear", VENV], "")


def install_packages() -> None:
    """Install everything that requirements/dev.txt locks, then the project itself."""
    count = len(re.findall(r"^[a-z0-9]\S*==", LOCK.read_text(), re.MULTILINE))
    way_out = (
        "No package index could be reached, or it lacks that package. Check the network; behind a proxy set "
        "HTTPS_PROXY,\n  for an index of your own PIP_INDEX_URL (and PIP_CERT); then run make sync again: it goes on."
    )
    locked = [PYTHON, *PIP, "--require-hashes", "-r", LOCK]
    run(f"installing {count} packages from requirements/dev.txt, each checked by its hash", locked, way_out)
    itself = [PYTHON, *PIP, "--no-deps", "--no-build-isolation", "--no-index", "--editable", ROOT]
    run("installing legation itself", itself, way_out)


def install_shop() -> None:
    """Install the shop's npm packages with the wheel's own node."""
    code = "from legation.runtime.binaries import node, npm; print(node(), npm(), sep='\\n')"
    node, npm = subprocess.check_output([str(PYTHON), "-c", code], cwd=str(ROOT)).decode().split("\n")[:2]
    way_out = (
        "No npm registry could be reached. Check the network; behind a proxy set HTTPS_PROXY, for a registry of your "
        "own\n  npm_config_registry (and NODE_EXTRA_CA_CERTS); then run make sync again: it goes on."
    )
    run("installing the shop's packages from examples/shop/package-lock.json", [node, npm, "ci"], way_out, cwd=SHOP)


def sync() -> None:
    """Bring everything up to the lock files; one at a time a checkout."""
    if is_synced():
        return
    check_platform()
    with LOCK.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another make sets this checkout up; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_synced():
            return
        begin = time.monotonic()
        if STAMP.is_file():
            STAMP.unlink()
        make_venv()
        install_packages()
        install_shop()
        STAMP.write_text(stamp_of(version_of(PYTHON)))
        say(f"set up in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    try:
        sync()
    except Stop as stop:
        sys.exit(f"legation: {stop}")
    except OSError as error:
        sys.exit(f"legation: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
