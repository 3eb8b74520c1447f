"""What all tests share: golden files, and no skips under CI."""

import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files, and delete orphans")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only the tests that hold golden files when those are to be rewritten."""
    if config.getoption("--update-golden"):
        others = [item for item in items if "golden" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped under CI: there, everything that a test needs must be present."""
    return _unskipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that is skipped under CI as a whole."""
    return _unskipped((yield))


def _unskipped(report: Report) -> Report:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure under CI: {report.longrepr}"
    return report


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
