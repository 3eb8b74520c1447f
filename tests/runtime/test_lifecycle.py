"""How a service starts: with as many open files as its user may have."""

import subprocess
import sys

SHOW = """
import resource
from legation.runtime.lifecycle import open_files
open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_service_may_open_what_its_user_may() -> None:
    command = f"ulimit -Sn 256; exec {sys.executable} -c '{SHOW}'"
    done = subprocess.run(["/bin/bash", "-c", command], check=True, capture_output=True, text=True)
    soft, hard = done.stdout.split()
    assert soft == hard
    assert int(soft) != 256
