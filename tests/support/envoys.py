"""The Envoys that a team may run itself: ours, and the older ones that `make envoys` fetches."""

import os
from pathlib import Path

import envoys
import pytest

from legation.runtime import binaries

VERSIONS = ("1.36.4", "1.38.3", "1.40.0")
assert set(envoys.versions()) == set(VERSIONS[:-1])


def envoy(version: str) -> Path:
    """The program; where it was not fetched, the test is skipped, and fails in CI."""
    if version == VERSIONS[-1]:
        return binaries.envoy()
    program = envoys.path(version)
    if not program.exists() and os.environ.get("CI") != "true":
        pytest.skip(f"no Envoy {version} here: make envoys fetches it")
    return program
