"""`python -m xds_server`."""

import legation.runtime.lean  # isort: skip  # noqa: F401 - first

import os
import sys

from legation.runtime.lifecycle import main
from legation.runtime.settings import load
from xds_server.service import run
from xds_server.settings import Settings
from xds_server.tune import tune

if __name__ == "__main__":
    tune()
    settings = load(Settings, "XDS_SERVER", sys.argv[1:], os.environ)
    main("xds_server", lambda: run(settings))
