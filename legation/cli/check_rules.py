"""`legation render prometheus DIR --check`: what was rendered, through the promtool and amtool of this host."""

import shutil
import subprocess
from pathlib import Path

from legation.cli.output import Exit, chatter, fail

LIMIT = 600.0


def check(folder: Path) -> None:
    """Check the rules and the configuration, and run the tests of every alert; leave with 3 when one fails."""
    promtool, amtool = _tool("promtool", "prometheus"), shutil.which("amtool")
    rules, tests = sorted(folder.glob("rules/*.rules.yaml")), sorted(folder.glob("tests/*.test.yaml"))
    _run(promtool, "check", "rules", "--lint=all", *rules)
    _run(promtool, "check", "config", folder / "prometheus.yaml")
    if amtool:
        _run(amtool, "check-config", folder / "alertmanager.yaml")
    _run(promtool, "test", "rules", *tests)
    skipped = "" if amtool else "; alertmanager.yaml is not checked: no amtool here"
    chatter(f"promtool has found no fault in {len(rules)} files of rules, and {len(tests)} of tests pass{skipped}")


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise fail(Exit.USAGE, f"--check needs {name}: install {package}, or leave --check out")
    return found


def _run(tool: str, *words: str | Path) -> None:
    done = subprocess.run([tool, *map(str, words)], capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise fail(Exit.FINDINGS, f"{Path(tool).name} {words[0]} {words[1]}: {done.stdout}{done.stderr}")
