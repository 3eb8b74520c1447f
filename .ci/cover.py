"""Holds what the quick tests run of each package against its floor: `[tool.legation.cover]` in pyproject.toml."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COVERAGE = (sys.executable, "-m", "coverage")
REPORT = ROOT / "build" / "coverage.json"
PYTEST = (sys.executable, "-m", "pytest", "-p", "measure", "-n", "3")
"""Three workers, as quick tests wait for half of their time."""


def main() -> int:
    """Run the tests, say what each package reaches, and return 1 when that is below a floor."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["legation"]["cover"]
    REPORT.parent.mkdir(exist_ok=True)
    for earlier in REPORT.parent.glob("coverage*"):  # coverage takes all that begin so for its data
        earlier.unlink()
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    tests = [*settings["tests"], *settings["options"]]
    if code := subprocess.run([*PYTEST, *tests], cwd=ROOT, env=here, check=False).returncode:
        return code
    subprocess.run([*COVERAGE, "combine", "-q"], cwd=ROOT, check=True)
    subprocess.run([*COVERAGE, "json", "-q", "-o", str(REPORT)], cwd=ROOT, check=True)
    files = json.loads(REPORT.read_text())["files"]
    short = [package for package, floor in settings["floors"].items() if not _holds(package, floor, files)]
    return 1 if short else 0


def _holds(package: str, floor: float, files: Mapping[str, Any]) -> bool:
    """Say what a package (or a module) reaches, with the lines that no test runs when that is too little."""
    path = package.replace(".", "/")
    found = {name: file for name, file in files.items() if name == f"{path}.py" or name.startswith(f"{path}/")}
    lines = sum(file["summary"]["num_statements"] for file in found.values())
    run = sum(file["summary"]["covered_lines"] for file in found.values())
    reached = 100 * run / lines if lines else 0.0
    sys.stdout.write(f"{reached:6.2f} % of {lines:5} lines, at least {floor:5.1f} %: {package}\n")
    if reached >= floor:
        return True
    for name, file in found.items():
        if file["missing_lines"]:
            sys.stdout.write(f"  not run: {name}:{','.join(map(str, file['missing_lines']))}\n")
    return False


if __name__ == "__main__":
    sys.exit(main())
