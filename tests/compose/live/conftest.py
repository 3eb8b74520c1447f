"""One shop in docker compose for all of these tests: the core first, then the rest around the same containers."""

import pytest

from tests.compose.live.project import shop


@pytest.fixture(scope="package")
def project():
    with shop() as made:
        yield made
