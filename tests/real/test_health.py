"""Apps that are ill in more ways than to say so: one that hangs, one that is well and ill by turns."""

import os
import re
import signal

import pytest

from tests.support.echo import Echo, app, asked, echo_in
from tests.support.mesh import Mesh, wait_for

pytestmark = pytest.mark.timeout(180)
ILL, TURNS = "echo-v1-0", 4
RETRY = "    routes: [{timeout: 10s, retry: {retry_on: [5xx], num_retries: 3, base_interval: 10ms}}]\n"


@pytest.fixture(scope="module")
def echo(shop_mesh: Mesh):
    shop_mesh.settle()
    with echo_in(shop_mesh, RETRY) as running:
        yield running


def is_well(mesh: Mesh) -> bool:
    return bool(mesh.instance(ILL).healthy)


def test_an_app_that_hangs_is_taken_out_and_comes_back(echo: Echo, shop: Mesh) -> None:
    """It is there, and takes connections; it only never answers."""
    pid = shop.instance(ILL).pids.app
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for("the instance is known to hang", lambda: not is_well(shop), 30)
        wait_for("requests go to the others alone", lambda: ILL not in set(echo.answered(10)), 20)
        assert ILL not in set(echo.answered(60))
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("the instance is well again", lambda: is_well(shop), 30)
    wait_for("it gets requests again", lambda: ILL in set(echo.answered(10)), 20)
    assert shop.instance(ILL).pids.app == pid, "nobody has started it anew"


def test_an_app_that_flaps_costs_no_request_and_little_work(echo: Echo, shop: Mesh) -> None:
    """Retries carry what it refuses; the control plane hears of each turn, and of nothing else."""
    before = changes(shop)
    for _ in range(TURNS):
        app(shop, ILL, "POST", "/become?status=503&all=503")
        assert {a.status_code for a in asked(40, echo.url)} == {200}
        wait_for("the instance is known to be ill", lambda: not is_well(shop), 30)
        app(shop, ILL, "POST", "/become")
        assert {a.status_code for a in asked(40, echo.url)} == {200}
        wait_for("the instance is well again", lambda: is_well(shop), 30)
    assert changes(shop) - before == 2 * TURNS


def changes(mesh: Mesh) -> int:
    """Count how often xds_server has taken a new health of the instance."""
    said = mesh.log("xds_server").splitlines()
    return sum("health changed" in line and re.search(rf"\b{ILL}\b", line) is not None for line in said)
