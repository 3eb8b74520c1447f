"""Run the kit on a peer: builds its adapter with the machine's Go, and keeps the run for docs/conformance.md.

`python -m tests.conformance.peers.run go-control-plane -k case_07` runs a part of it, and keeps nothing.
"""

import subprocess
import sys
from pathlib import Path

BUILT = Path("build/conformance").resolve()
HERE = Path(__file__).parent


def main(peer: str, *arguments: str) -> int:
    """0 when the kit ran to its end, whatever it found: the findings are the report's."""
    program = BUILT / peer
    BUILT.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "build", "-trimpath", "-o", program, "."], cwd=HERE / peer, check=True)
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as adapter:
        control = adapter.stdout.readline().split()[1]
        kept = [] if arguments else ["--record", "make conformance-peers"]
        command = [sys.executable, "-m", "pytest", "tests/conformance", "--ignore=tests/conformance/test_report.py"]
        command += ["--tb=no", "--adapter", control, *kept, *arguments]
        code = subprocess.run(command, check=False).returncode
        adapter.stdin.close()
    return 0 if code in {0, 1} else code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
