"""Changes of the shop in docker compose, as people make them, while requests come in: none of those may fail."""

import sys

import pytest

from tests.compose.live.change import CHANGES, borne, under_load
from tests.compose.live.project import Project

pytestmark = pytest.mark.timeout(240)

TOGETHER = {
    "apps": ("scale-app-to-5-and-back", "restart-only-app", "stop-and-start-one-app", "upgrade-app"),
    "sidecars": ("scale-sidecar-to-2-and-back", "upgrade-only-sidecar"),
    "ours": ("restart-xds-server", "restart-certmgr", "restart-vault"),
}


@pytest.fixture(scope="module")
def rate(project: Project) -> float:
    return borne(project)


@pytest.mark.parametrize("what", TOGETHER)
def test_it_changes_without_a_failed_request(project: Project, rate: float, what: str) -> None:
    steps = [step for name in TOGETHER[what] for step in CHANGES[name]]
    outcome = under_load(project, *steps, rate=rate, before=2, after=4)
    sys.stdout.write(f"{what}: {outcome.summary()}\n")
    assert outcome.failures == (), outcome.summary()
