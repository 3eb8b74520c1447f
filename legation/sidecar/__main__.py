"""`python -m legation.sidecar FILE`: one instance, by its saved settings. Light: every instance has one."""

import legation.runtime.lean  # isort: skip  # noqa: F401 - first

import asyncio
import os
import sys
from pathlib import Path

from legation.runtime import log as logs
from legation.runtime.control.client import ControlError
from legation.runtime.lifecycle import light
from legation.sidecar.run import run
from legation.sidecar.settings import RunSettings

_FINDINGS = 3


def main() -> int:
    """Live as the instance that the file describes; return the exit code."""
    os.umask(0o077)
    settings = RunSettings.read(Path(sys.argv[1]))
    logs.set_up("sidecar")
    light()
    try:
        return asyncio.run(run(settings, os.environ))
    except (ControlError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return _FINDINGS


if __name__ == "__main__":
    sys.exit(main())
