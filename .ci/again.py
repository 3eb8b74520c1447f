"""Runs once more, alone, what has failed among all tests: `.ci/again.py`. Returns 0 when all of it passes now.

Beside other tests on a machine that others use too, a test may fail of slowness (docs/decisions/009).
No second run for a fault under load, whose control tells the machine from the mesh, nor where many fail.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
FINAL = "tests/real/test_faults.py"
MOST = 3


def main() -> int:
    """Say which tests failed, and run them again where that may tell something."""
    failed = sorted(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if reason := _no_second_run(failed):
        sys.stdout.write(f"=== no second run: {reason}\n" + "".join(f"    {t}\n" for t in failed))
        return 1
    sys.stdout.write("=== failed beside other tests, run once more alone:\n" + "".join(f"    {t}\n" for t in failed))
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "-rs", *failed]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        return code
    sys.stdout.write(f"=== unsteady: {len(failed)} passed alone after a failure; mend what they do not wait for\n")
    return 0


def _no_second_run(failed: list[str]) -> str | None:
    """Say why what has failed is not run again; None when it may be."""
    if not failed:
        return "no test has failed"
    if any(test.startswith(FINAL) for test in failed):
        return f"{FINAL} is among what failed, and a request that is lost there is lost"
    return f"{len(failed)} failed, and no more than {MOST} are run again" if len(failed) > MOST else None


if __name__ == "__main__":
    sys.exit(main())
