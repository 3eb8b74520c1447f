"""What all tests share: golden files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files, and delete orphans")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, str]], None]:
    """Hold generated files against tests/golden/<case>/: `golden("shop/web", {"clusters.yaml": text, …})`."""

    def check(case: str, files: Mapping[str, str]) -> None:
        folder = GOLDEN / case
        if request.config.getoption("--update-golden"):
            _rewrite(folder, files)
        kept = {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}
        assert dict(files) == kept, f"tests/golden/{case} differs: look, then run make golden"

    return check


def _rewrite(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for orphan in [p for p in folder.rglob("*") if p.is_file() and str(p.relative_to(folder)) not in files]:
        orphan.unlink()
