"""`python -m certmgr`: certmgr as a process of its own."""

import legation.runtime.lean  # isort: skip  # noqa: F401 - first

import os
import resource
import sys

from certmgr.service import run
from certmgr.settings import Settings
from certmgr.store import Locked, Store
from legation.runtime import lifecycle
from legation.runtime.clock import WallClock
from legation.runtime.settings import load


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load(Settings, "CERTMGR", sys.argv[1:], os.environ)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold every key
    settings.folder.make()
    try:
        settings.check()
    except ValueError as error:
        sys.exit(f"certmgr: {error}")
    try:
        with Store(settings.folder.certmgr).lock():
            lifecycle.main("certmgr", lambda: run(settings, WallClock()))
    except Locked as error:
        sys.exit(f"certmgr: {error}")


if __name__ == "__main__":
    main()
