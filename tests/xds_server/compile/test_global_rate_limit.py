"""Limits of all instances together, by the stock ratelimit service with a real Redis, through stock Envoys."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import go_tools
import httpx
import pytest

from tests.xds_server.compile.fleet import APP_PORT, App, Fleet, wait_for
from xds_server.compile.global_rate_limit import counted

REDIS_PORT = 6379
POOL = 5
# 5 s, as the mode of the mesh decides of each request that a busy machine takes longer to count
MESH = """
mesh: limits
trust_domain: limits.local
services:
  web: {protocol: http, port: 8080, calls: [open, closed]}
  desk: {protocol: http, port: 8080, calls: [closed]}
  open:
    protocol: http
    port: 8080
    calls: [limiter]
    rate_limit:
      global:
        service: limiter
        timeout: 5s
        limits:
          - {requests_per_unit: 2, unit: day, by_header: x-user}
          - {requests_per_unit: 3, unit: day, by_source_address: true}
  closed:
    protocol: http
    port: 8080
    calls: [limiter]
    rate_limit:
      global:
        service: limiter
        timeout: 5s
        failure_mode_deny: true
        limits:
          - {requests_per_unit: 2, unit: day, by_caller: true}
          - {requests_per_unit: 1000, unit: day}
  limiter: {protocol: grpc, port: 8081}
"""


def components() -> tuple[Path, str]:
    """Return ratelimit and Redis; skip where they are missing, but not in CI."""
    redis = shutil.which("redis-server")
    try:
        if redis is not None:
            return go_tools.build("ratelimit"), redis
        missing = "redis-server is missing: apt-get install redis-server"
    except go_tools.CannotBuild as error:
        missing = str(error)
    pytest.skip(missing)


class Program:
    """A process that a test kills and starts again."""

    def __init__(self, folder: Path, argv: list[str], **environment: str) -> None:
        self._log, self._argv, self._environment = folder / f"{Path(argv[0]).name}.log", argv, environment
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._argv, stdout=log, stderr=log, env={**os.environ, **self._environment}, cwd=self._log.parent
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class World:
    def __init__(self, fleet: Fleet, limiter: Program, redis: Program) -> None:
        self.fleet, self.limiter, self.redis = fleet, limiter, redis
        self.limits = fleet.folder / "limiter" / "config" / "limits.yaml"
        self._at = fleet.nodes["limiter-v1"].app_address

    def configure(self, text: str) -> None:
        fresh = self.limits.with_name(".limits.new")
        fresh.write_text(text)
        fresh.rename(self.limits)

    def ask(self, callee: str, caller: str = "web", **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"http://{self.fleet.outbound(f'{caller}-v1', callee)}/", headers=sent, timeout=10)

    def statuses(self, times: int, callee: str, caller: str = "web", **headers: str) -> list[int]:
        return [self.ask(callee, caller, **headers).status_code for _ in range(times)]

    def redis_says(self, command: str) -> str:
        try:
            with socket.create_connection((self._at, REDIS_PORT), timeout=5) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(100).decode()
        except OSError:
            return ""

    def counts(self) -> bool:
        """Say whether requests are counted now, on each of ratelimit's connections to Redis; forget what was."""
        counting = all("x-ratelimit-limit" in self.ask("closed").headers for _ in range(2 * POOL))
        return counting and self.redis_says("FLUSHALL") == "+OK\r\n"


@contextmanager
def limited(folder: Path) -> Iterator[World]:
    ratelimit, redis_server = components()
    fleet = Fleet(MESH, folder)
    apps = [App(fleet.add(name).address, name) for name in ("open", "closed")]
    at = fleet.add("limiter").app_address
    for name in ("web", "desk"):
        fleet.add(name)
    (folder / "limiter" / "config").mkdir(parents=True)
    redis = Program(folder, [redis_server, "--bind", at, "--port", str(REDIS_PORT), "--save", ""])
    limiter = Program(
        folder, [str(ratelimit)], HOST=at, PORT="0", DEBUG_HOST=at, DEBUG_PORT="0",
        GRPC_HOST=at, GRPC_PORT=str(APP_PORT), REDIS_POOL_SIZE=str(POOL),
        RUNTIME_ROOT=str(folder / "limiter"), RUNTIME_SUBDIRECTORY="", RUNTIME_WATCH_ROOT="false",
        RUNTIME_IGNOREDOTFILES="true", REDIS_SOCKET_TYPE="tcp", REDIS_URL=f"{at}:{REDIS_PORT}", USE_STATSD="false",
        DISABLE_STATS="true",
    )  # fmt: skip
    world = World(fleet, limiter, redis)
    world.configure(json.dumps(counted(fleet.mesh.mesh)))
    try:
        redis.start()
        wait_for(lambda: world.redis_says("PING") == "+PONG\r\n")
        limiter.start()
        with fleet.running():
            yield world
    finally:
        limiter.kill()
        redis.kill()
        for app in apps:
            app.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with limited(tmp_path_factory.mktemp("limits")) as world:
        yield world


@pytest.fixture
def world(running):
    wait_for(running.counts)
    return running


@pytest.mark.timeout(900)  # the first to run may have to build it
def test_all_instances_together_take_no_more_than_the_limit(world):
    assert world.statuses(3, "closed") == [200, 200, 429]
    assert world.statuses(3, "closed", caller="desk") == [200, 200, 429], "each caller has so many"
    refused = world.ask("closed")
    assert (refused.headers["x-ratelimit-remaining"], refused.headers["x-ratelimit-limit"][:1]) == ("0", "2")


def test_each_value_of_a_header_and_each_client_have_so_many(world):
    assert world.statuses(3, "open", x_user="ann", x_forwarded_for="10.0.0.1") == [200, 200, 429]
    assert world.statuses(3, "open", x_user="bea", x_forwarded_for="10.0.0.2") == [200, 200, 429]
    assert world.statuses(3, "open", x_forwarded_for="10.0.0.3") == [200, 200, 429], "leaving it out is no way around"
    users = [world.ask("open", x_user=f"u{n}", x_forwarded_for="10.0.0.4").status_code for n in range(4)]
    assert users == [200, 200, 200, 429]


def test_new_limits_are_taken_without_a_restart(world):
    was = world.limits.read_text()
    world.configure(was.replace('"requests_per_unit": 2', '"requests_per_unit": 4'))
    try:
        wait_for(lambda: world.ask("closed", caller="desk").headers["x-ratelimit-limit"].startswith("4"))
    finally:
        world.configure(was)
    wait_for(lambda: world.ask("closed", caller="desk").headers["x-ratelimit-limit"].startswith("2"))


@pytest.mark.parametrize("gone", ["redis", "limiter"])
def test_without_redis_or_the_service_the_mode_of_the_mesh_decides(world, gone):
    program = getattr(world, gone)
    assert world.statuses(3, "open", x_user="eve") == [200, 200, 429]
    program.kill()
    try:
        wait_for(lambda: world.ask("closed").status_code == 503)
        assert world.statuses(3, "open", x_user="eve") == [200] * 3
        assert world.ask("closed").status_code == 503  # more would wait: ratelimit has no connection left to fail on
    finally:
        program.start()
    wait_for(world.counts)
    assert world.statuses(3, "closed") == [200, 200, 429]
