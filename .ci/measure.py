"""Measures what a worker of pytest-xdist runs, from before it imports anything of ours: `pytest -p measure -n 3`."""

import os
from pathlib import Path

import coverage

_MEASURED = coverage.Coverage(data_suffix=True, config_file=str(Path(__file__).parents[1] / "pyproject.toml"))
_WORKS = "PYTEST_XDIST_WORKER" in os.environ

if _WORKS:  # here, as folders' own conftest files import our code before any hook is called
    _MEASURED.start()


def pytest_unconfigure() -> None:
    """Keep what was run, in a file of this worker's own beside `data_file`."""
    if _WORKS:
        _MEASURED.stop()
        _MEASURED.save()
