"""`python -m telemetry`: the service as a process."""

import legation.runtime.lean  # isort: skip  # noqa: F401 - first

import os
import sys

from legation.runtime import lifecycle, settings
from legation.runtime.clock import WallClock
from telemetry.service import run
from telemetry.settings import TELEMETRY, Settings


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    given = settings.load(Settings, TELEMETRY.upper(), sys.argv[1:], os.environ)
    lifecycle.main(TELEMETRY, lambda: run(given, WallClock()))


if __name__ == "__main__":
    main()
