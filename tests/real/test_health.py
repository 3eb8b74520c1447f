"""Apps that are ill in more ways than to say so: one that hangs, one that is well and ill by turns."""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import grpc
import pytest

from tests.support import flapping
from tests.support.echo import Echo, added, app, asked, echo_in, free_port
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
        reason = "(GET /well every 250ms, within 1s) has no answer in time"
        wait_for("status says why", lambda: reason in (shop.instance(ILL).unwell or ""), 20)
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
        wait_for("status says why", lambda: "is answered with 503" in (shop.instance(ILL).unwell or ""), 20)
        app(shop, ILL, "POST", "/become")
        assert {a.status_code for a in asked(40, echo.url)} == {200}
        wait_for("the instance is well again", lambda: is_well(shop), 30)
    assert changes(shop) - before == 2 * TURNS


def changes(mesh: Mesh, instance: str = ILL) -> int:
    """Count how often xds_server has taken a new health of an instance."""
    said = mesh.log("xds_server").splitlines()
    return sum("health changed" in line and re.search(rf"\b{instance}\b", line) is not None for line in said)


FLAPPING = """
  flap-{kind}:
    protocol: {kind}
    port: 7000
    health_check: {{interval: 500ms}}
    expose: {{port: {port}}}
    {more}
"""
AGAIN = "routes: [{timeout: 10s, retry: {retry_on: [unavailable], num_retries: 3, base_interval: 10ms}}]"


@pytest.mark.parametrize(
    ("kind", "more", "why"), [("grpc", AGAIN, "is not answered with SERVING"), ("tcp", "", "the connection is refused")]
)
def test_an_app_that_flaps_in_grpc_or_tcp_costs_nothing(shop: Mesh, kind: str, more: str, why: str) -> None:
    """For gRPC the retries carry what it refuses; a TCP connection waits until the app listens, or fails its check."""
    instance = f"flap-{kind}-v1-0"
    with flapping_in(shop, kind, more) as ask:
        pid, before = shop.instance(instance).pids.app, changes(shop, instance)
        with asking(ask) as answers:
            for _ in range(TURNS):
                os.kill(pid, signal.SIGUSR1)
                wait_for("it is known to be ill", lambda: not shop.instance(instance).healthy, 30)
                wait_for("status says why", lambda: why in (shop.instance(instance).unwell or ""), 30)
                os.kill(pid, signal.SIGUSR2)
                wait_for("it is well again", lambda: shop.instance(instance).healthy, 30)
        assert shop.instance(instance).unwell is None
        assert changes(shop, instance) - before == 2 * TURNS
        assert {type(a) for a in answers} == {str}, [a for a in answers if not isinstance(a, str)][:3]
        assert set(answers) == {instance, f"flap-{kind}-v1-1"}


@contextmanager
def flapping_in(mesh: Mesh, kind: str, more: str) -> Iterator[Callable[[], str]]:
    """Have a service of two instances that can fall ill; gives what asks it once, through the gateway."""
    port, before = free_port(), mesh.file.read_text()
    command = f"[{sys.executable}, {flapping.__file__}, {kind}]"
    service = FLAPPING.format(kind=kind, port=port, more=more)
    workload = f"  - {{service: flap-{kind}, version: v1, instances: 2, command: {command}}}\n"
    mesh.write(added(before, service, workload))
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            who: Callable[..., bytes] = channel.unary_unary(flapping.WHO)
            yield (lambda: who(b"", timeout=20).decode()) if kind == "grpc" else (lambda: heard(port))
    finally:
        mesh.write(before)


def heard(port: int) -> str:
    """Return what a connection of its own is told."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\n")
        with connection.makefile("rb") as file:
            if answer := file.read():
                return answer.decode()
    raise EOFError("closed without a word")


@contextmanager
def asking(ask: Callable[[], str], workers: int = 4) -> Iterator[list[str | Exception]]:
    """Ask without a pause while the block runs; gives the list of what came of it."""
    over, answers = Event(), list[str | Exception]()

    def work() -> None:
        while not over.is_set():
            try:
                answers.append(ask())
            except (grpc.RpcError, OSError, EOFError) as error:
                answers.append(error)
            over.wait(0.02)

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            pool.submit(work)
        try:
            yield answers
        finally:
            over.set()
