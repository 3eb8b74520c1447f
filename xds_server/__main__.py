"""`python -m xds_server`."""

import legation.runtime.lean  # isort: skip  # noqa: F401 - first

import os
import sys

from legation.runtime import garbage
from legation.runtime.lifecycle import main
from legation.runtime.settings import load
from xds_server.service import run
from xds_server.settings import Settings

if __name__ == "__main__":
    garbage.in_large_portions()
    settings = load(Settings, "XDS_SERVER", sys.argv[1:], os.environ)
    main("xds_server", lambda: run(settings))
