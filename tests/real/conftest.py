"""One shop for all tests that talk to a running mesh; each leaves it in order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import Mesh, running


@pytest.fixture(scope="session")
def shop_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(Path(tmp_path_factory.mktemp("mesh"))) as mesh:
        yield mesh


@pytest.fixture
def shop(shop_mesh: Mesh) -> Iterator[Mesh]:
    """The running shop, in order before and after."""
    shop_mesh.settle()
    yield shop_mesh
    shop_mesh.settle()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the faults that nothing but a retry can hide where the mesh's retries are off, and the other way."""
    left_out = [item for item in items if _is_elsewhere(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_elsewhere(item: pytest.Item) -> bool:
    fixtures, off = getattr(item, "fixturenames", ()), "no retries" in item.name
    return ("retries" in fixtures and off) or ("no_retries" in fixtures and not off)
