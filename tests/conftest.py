"""What all tests share: golden files, no skips under CI, and how three workers divide them (make test)."""

import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
GOLDEN = Path(__file__).parent / "golden"
FAULTS = "tests/real/test_faults.py"
"""The tests under a steady load, which run one after the other: what runs beside them yields to them."""
MESH = "tests/real/"
"""All that need a whole mesh."""
YIELDING = 5
"""The niceness of what runs beside the tests under load."""

settings.register_profile("here", deadline=None)  # what is slow is measured in bench/: here it is a busy machine
settings.register_profile("ci", deadline=None, derandomize=True)  # a commit is judged by the same examples each time
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files, and delete orphans")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only the tests that hold golden files when those are to be rewritten; else the long ones first."""
    if config.getoption("--update-golden"):
        others = [item for item in items if "golden" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not item.nodeid.startswith(FAULTS), not item.nodeid.startswith(MESH)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file together, those of a whole mesh, and those under load, which one worker begins with.

    Half of their time these two wait, so a third worker has room on two cores.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByMesh(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            of_a_mesh = next((begin for begin in (FAULTS, MESH) if nodeid.startswith(begin)), None)
            return of_a_mesh or str(super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return ByMesh(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let all other tests yield to those under load, for good: only root could take it back."""
    beside = hasattr(item.config, "workerinput") and not item.nodeid.startswith(FAULTS)
    if beside and os.nice(0) < YIELDING:
        os.nice(YIELDING - os.nice(0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each window of the steady load saw: it is the tests' evidence, and a worker's output is not seen."""
    passed = [r for r in terminalreporter.stats.get("passed", ()) if r.nodeid.startswith(FAULTS) and r.capstdout]
    if passed:
        terminalreporter.section("seen under the steady load")
    for report in passed:
        terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}\n{report.capstdout.rstrip()}")


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
