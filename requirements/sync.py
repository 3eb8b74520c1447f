"""Set this checkout up: .venv with what a lock file names, checked by hash, and npm packages.

`sync.py runtime` (make up) installs what running needs, `sync.py` (make sync, test, check) all. Run with any python3,
hence no newer syntax here. Does nothing when nothing has changed; one that was interrupted is gone on with.
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
from pathlib import Path

import uv_settings
from progress import Failed, Progress

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
UNFINISHED = VENV / ".unfinished"
SHOP, SCHEMA = ROOT / "examples" / "shop", ROOT / "tests" / "dashboards" / "schema"
RUNTIME, DEV, UV_LOCK = HERE / "runtime.txt", HERE / "dev.txt", HERE / "uv.txt"
GROUPS = {"runtime": (RUNTIME,), "dev": (RUNTIME, DEV)}
NPM = {"runtime": (SHOP,), "dev": (SHOP, SCHEMA)}
OLDEST, NEWEST = (3, 11), (3, 13)
RANGE = "3.11 to 3.13"
STARTED = (
    "legation.cli.main",
    *(f"{package}.__main__" for package in ("legation.host", "legation.sidecar", "xds_server", "certmgr", "telemetry")),
)
"""The modules that processes are started from."""
PIP = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input")
DIFFERS = re.compile("DO NOT MATCH THE HASHES|Hash mismatch", re.IGNORECASE)
NO_NETWORK = re.compile(
    "ConnectionError|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|name resolution|Network is unreachable"
    "|timed out|SSLError|No matching distribution|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|ECONNRESET|EAI_AGAIN|CERT"
)
NO_INDEX = (
    "No package index could be reached, or it lacks that package. Check the network; behind a proxy set "
    "HTTPS_PROXY,\n  for an index of your own PIP_INDEX_URL (and PIP_CERT); then run make again: it goes on."
)
NO_REGISTRY = (
    "No npm registry could be reached. Check the network; behind a proxy set HTTPS_PROXY, for a registry of your "
    "own\n  npm_config_registry (and NODE_EXTRA_CA_CERTS); then run make again: it goes on."
)


class Stop(Exception):
    """Something that only the reader can mend; the text says how."""


def version_of(python: "str | Path") -> "tuple[int, ...] | None":
    """Return a Python's (major, minor, micro), or None where it does not run."""
    code = "import sys; print(*sys.version_info[:3])"
    try:
        ran = subprocess.run(
            [str(python), "-I", "-S", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in ran.stdout.split())


def fits(version: "tuple[int, ...] | None") -> bool:
    """Say whether we run on this version of Python."""
    return version is not None and OLDEST <= version[:2] <= NEWEST


def choose_python() -> str:
    """Return a Python that fits: the one that runs this, else the newest on the PATH."""
    if fits(sys.version_info[:3]):
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and fits(version_of(found)):
            return found
    raise Stop(
        f"Python {platform.python_version()} ({sys.executable}) does not fit: Legation needs {RANGE}.\n"
        "  Install one (Debian 12 and 13 and Ubuntu 24.04 have it as python3), or name it: make up PYTHON=/path/to/it"
    )


def check_platform() -> None:
    """Refuse where the stock binaries do not exist."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise Stop(f"{sys.platform} on {platform.machine()}: Legation runs on Linux, on x86-64 or arm64")


def digest_of(*inputs: "str | Path") -> str:
    """Return a digest of texts and of files' contents."""
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return digest.hexdigest()


def holds(stamp: Path, digest: str) -> bool:
    """Say whether a stamp is of what its inputs are now."""
    return stamp.is_file() and stamp.read_text() == digest


def desired(group: str) -> str:
    """Return a digest of all that a group's packages depend on, this folder's own path among it."""
    return digest_of(f"{ROOT} {version_of(PYTHON)}", *GROUPS[group], ROOT / "pyproject.toml")


def stamp_of(group: str) -> Path:
    """Return the file that says of which lock files a group's packages are here."""
    return VENV / f".synced-{group}"


def is_synced(group: str) -> bool:
    """Say whether .venv and the npm packages are what the lock files name."""
    fine = fits(version_of(PYTHON)) and not UNFINISHED.exists() and all(has_npm(folder) for folder in NPM[group])
    return fine and holds(stamp_of(group), desired(group))


def npm_stamp(folder: Path) -> Path:
    """Return the file that says of which lock file a folder's npm packages are here."""
    return folder / "node_modules" / ".synced"


def npm_digest(folder: Path) -> str:
    """Return a digest of all that a folder's npm packages depend on."""
    return digest_of(folder / "package-lock.json", folder / ".npmrc")


def has_npm(folder: Path) -> bool:
    """Say whether a folder's npm packages are what its lock file names."""
    return holds(npm_stamp(folder), npm_digest(folder))


def failure(failed: Failed, way_out: str) -> str:
    """Return what to tell about a command that failed."""
    if DIFFERS.search(failed.text):
        way_out = "A package is not the one that was locked. Do not go on: ask where your index has it from."
    elif "No space left" in failed.text:
        way_out = "The disk is full: make room (about 1 GB), then run make again: it goes on."
    elif not NO_NETWORK.search(failed.text):
        way_out = "The output above says why."
    shown = [line for line in failed.lines if line and "Retrying (" not in line][-12:]
    return "\n".join([f"failed: {failed.what}", *("    " + line[:200] for line in shown), "  " + way_out])


def make_venv(progress: Progress) -> None:
    """Make .venv, unless there is one that fits."""
    if fits(version_of(PYTHON)) and (VENV / "bin" / "pip").exists():
        return
    python = choose_python()
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0:
        raise Stop(f"{python} cannot make a .venv: install python3-venv (sudo apt-get install python3-venv)")
    progress.step("setting up .venv with Python {}.{}.{}".format(*version_of(python) or ()))
    try:
        progress.run([python, "-m", "venv", "--clear", VENV], ROOT)
    except Failed as failed:
        raise Stop(failure(failed, "")) from failed


def count_of(lock: Path) -> int:
    """Return how many packages a lock file names for this platform."""
    lines = re.findall(r"^[a-z0-9]\S*==.*", lock.read_text(), re.MULTILINE)
    return len([line for line in lines if "win32" not in line])


def install_packages(group: str, progress: Progress) -> None:
    """Install everything that a group's lock file names, then the project itself: with uv, or where it cannot, pip."""
    lock = GROUPS[group][-1]
    what = f"setting up {count_of(lock)} packages, each checked by its hash"
    progress.step(what)
    again = UNFINISHED.exists()  # then what looks installed may be half of it
    UNFINISHED.touch()
    locked = ["install", "--require-hashes", "-r", str(lock)]
    itself = ["install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    if not with_uv(locked, itself, again, progress):
        progress.step(what + ", with pip")
        try:
            progress.run([*PIP, *locked, *(["--force-reinstall"] if again else [])], ROOT)
            progress.run([*PIP, *itself, "--no-index"], ROOT)
        except Failed as failed:
            raise Stop(failure(failed, NO_INDEX)) from failed
    UNFINISHED.unlink()


def with_uv(locked: "list[str]", itself: "list[str]", again: bool, progress: Progress) -> bool:
    """Do what `pip install` would, many times as fast; say whether that was to be done."""
    env = uv_environment(progress)
    if env is None:
        return False
    pip = [str(UV), "pip"]
    try:
        progress.run([*pip, *locked, "--python", str(PYTHON), *(["--reinstall"] if again else [])], ROOT, env)
        progress.run([*pip, *itself, "--python", str(PYTHON), "--offline"], ROOT, env)
    except Failed as failed:
        if DIFFERS.search(failed.text) or "No space left" in failed.text:
            raise Stop(failure(failed, "")) from failed
        reason = next((line for line in failed.lines if line.strip()), "it said nothing").strip()
        progress.say(f"uv failed ({reason[:120]}): pip tries")
        return False
    return True


def uv_environment(progress: Progress) -> "dict[str, str] | None":
    """Have uv in .venv; return the environment in which it does as pip is told to, or None where pip has to do."""
    try:
        told = uv_settings.read("\n".join(progress.run([*PIP, "config", "list"], ROOT)))
        env = uv_settings.translate(told, dict(os.environ))
    except uv_settings.NotTranslated as option:
        progress.say(f"pip is told {option}, which uv does not know: pip installs all, which takes longer")
        return None
    if not has_uv():
        try:
            progress.run([*PIP, "install", "--require-hashes", "-r", UV_LOCK], ROOT)
        except Failed as failed:
            lacking = "No matching distribution" in failed.text and not no_answer(failed)
            if not lacking:
                raise Stop(failure(failed, NO_INDEX)) from failed
            progress.say("pip finds no uv at your package index: pip installs all, which takes longer")
            return None
    return env


def has_uv() -> bool:
    """Say whether the uv that is locked is in .venv."""
    version = re.findall(r"^uv==(\S+)", UV_LOCK.read_text(), re.MULTILINE)[0]
    return UV.exists() and any(VENV.glob(f"lib/python*/site-packages/uv-{version}.dist-info/RECORD"))


def no_answer(failed: Failed) -> bool:
    """Say whether pip could not ask its index at all; it then says `No matching distribution` too."""
    return "Retrying (" in failed.text or "problem confirming the ssl certificate" in failed.text


def compile_ahead(progress: Progress) -> None:
    """Have Python compile what running imports, once, whatever PYTHONDONTWRITEBYTECODE says.

    With that set, as many an image has it, each process would compile all of it at each start, and keep
    megabytes more for as long as it runs.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    progress.step("compiling what running imports")
    try:
        progress.run([PYTHON, "-c", "import " + ", ".join(STARTED)], ROOT, env)
    except Failed as failed:
        raise Stop(failure(failed, "")) from failed


def install_npm(folder: Path, progress: Progress) -> None:
    """Install a folder's npm packages with the wheel's own node."""
    code = "from legation.runtime.binaries import node, npm; print(node(), npm(), sep='\\n')"
    node, npm = subprocess.check_output([str(PYTHON), "-c", code], cwd=str(ROOT)).decode().split("\n")[:2]
    progress.step(f"setting up the npm packages of {folder.relative_to(ROOT)}")
    try:
        progress.run([node, npm, "ci"], folder)
    except Failed as failed:
        raise Stop(failure(failed, NO_REGISTRY)) from failed
    npm_stamp(folder).write_text(npm_digest(folder))


def install(group: str, progress: Progress) -> None:
    """Install what a group needs and is not here yet. All development needs holds what running does."""
    make_venv(progress)
    for name in GROUPS:
        if stamp_of(name).exists():
            stamp_of(name).unlink()
    install_packages(group, progress)
    compile_ahead(progress)
    for name, locks in GROUPS.items():
        if set(locks) <= set(GROUPS[group]):
            stamp_of(name).write_text(desired(name))
    for folder in NPM[group]:
        if not has_npm(folder):
            install_npm(folder, progress)


def sync(group: str) -> None:
    """Bring everything up to the lock files; one at a time a checkout."""
    if is_synced(group):
        return
    check_platform()
    progress = Progress()
    with RUNTIME.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress.step("another make sets this checkout up; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_synced(group):
            try:
                install(group, progress)
            finally:
                progress.clear()
            progress.say(f"set up in {progress.seconds:.0f} s")


def main(words: "list[str]") -> None:
    """Do what the command line says; end with a message where the reader has to do something."""
    try:
        sync(words[0] if words else "dev")
    except (Stop, OSError) as error:
        sys.exit(f"legation: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("legation: interrupted; run make again: it goes on\n")
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
