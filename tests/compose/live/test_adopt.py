"""What a team published as adopt/migration goes into a mesh and out of it again, on a real Docker Engine.

In order: each test finds what the one before has left. None of its images can be pulled everywhere, so stand-in.js
takes the place of each program.
"""

import json
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.live.project import ROOT, Project
from tests.support.command import legation

pytestmark = pytest.mark.timeout(120)

SERVICES = ("db", "migrate", "orders")
STAND_INS = """
x-program: &program
  image: ${{SHOP_IMAGE:-legation-shop}}
  entrypoint: [/usr/local/bin/program]
  volumes: ["{program}:/usr/local/bin/program:ro", "{program}:/usr/local/bin/mysqladmin:ro"]
services: {{db: *program, migrate: *program, orders: *program}}
"""
OVERRIDE = "docker-compose.legation.yaml"
GREETING, TABLES = "8.4.0\n", "tables: orders"


class Team:
    """A team's compose project in a folder."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT / "tests/compose/adopt/migration", folder, dirs_exist_ok=True)
        (folder / "stand-ins.yaml").write_text(STAND_INS.format(program=folder / "stand-in.js"))
        self.folder, self.project = folder, Project(Project.free_port())
        self.database = Project.free_port()
        self.project.environment |= {"PORT": str(self.project.port), "DB_PORT": str(self.database)}

    def compose(self, *words: str, over: tuple[str, ...] = ()) -> None:
        files = ("compose.yaml", "stand-ins.yaml", *over)
        self.project.environment["COMPOSE_FILE"] = ":".join(str(self.folder / file) for file in files)
        self.project.compose(*words, "--remove-orphans")

    def up(self, *over: str) -> None:
        self.compose("up", "-d", "--wait", "--no-build", over=over)

    def adopt(self, mesh: str) -> None:
        done = legation("render", "compose", "compose.yaml", "-f", mesh, folder=self.folder)
        assert done.returncode == 0, done.stderr
        self.up(OVERRIDE)

    def forget(self) -> None:
        """Leave nothing, of the mesh either: compose removes the volumes and networks of the files that it is given."""
        for over in ((OVERRIDE,), ()) if (self.folder / OVERRIDE).exists() else ((),):
            self.compose("down", "-v", over=over)

    def inspected(self) -> Mapping[str, Any]:
        names = {c.service: c.name for c in self.project.containers() if c.service in SERVICES}
        said = json.loads(self.project.docker("inspect", *names.values()))
        return dict(zip(names, said, strict=True))

    def published(self) -> Mapping[str, tuple[int, ...]]:
        return {c.service: c.published for c in self.project.containers() if c.published}

    def has_migrated(self) -> bool:
        """Whether the job ended well before its app was started."""
        states = {service: said["State"] for service, said in self.inspected().items()}
        job, app = states["migrate"], states["orders"]
        return job["Status"] == "exited" and job["ExitCode"] == 0 and app["StartedAt"] > job["FinishedAt"]

    def greeting(self) -> str:
        """What the database says first to whoever connects from outside."""
        with socket.create_connection(("127.0.0.1", self.database), 10) as connection:
            connection.settimeout(10)
            return connection.recv(100).decode()

    def page(self) -> str:
        return httpx.get(self.project.url, trust_env=False, timeout=20).text


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = Team(tmp_path_factory.mktemp("team"))
    made.forget()
    try:
        made.adopt("mesh-2-more.yaml")
        yield made
    finally:
        made.forget()
        assert made.project.left() == []


def test_a_job_that_runs_once_reaches_the_database_and_ends_before_its_app_starts(team: Team) -> None:
    assert team.has_migrated()
    assert team.page() == TABLES


def test_published_ports_are_the_gateways_or_while_permissive_the_sidecars(team: Team) -> None:
    assert team.published() == {"db-sidecar": (team.database,), "legation-gateway": (team.project.port,)}
    assert team.greeting() == GREETING


def test_undo_is_leaving_the_override_out_and_nothing_else_had_changed(team: Team) -> None:
    meshed = team.inspected()
    team.up()
    assert {c.service for c in team.project.containers()} == set(SERVICES)
    assert team.published() == {"db": (team.database,), "orders": (team.project.port,)}
    assert (team.page(), team.greeting()) == (TABLES, GREETING)
    for service, now in team.inspected().items():
        assert settings(meshed[service]) == settings(now), service


def settings(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a container is made of, but for its networks and ports, and what compose keeps of its own there."""
    host = {name: value for name, value in said["HostConfig"].items() if name not in ("NetworkMode", "PortBindings")}
    own = {name: value for name, value in said["Config"].items() if name not in ("Hostname", "ExposedPorts")}
    own["Labels"] = {name: value for name, value in own["Labels"].items() if not name.startswith("com.docker.compose.")}
    # in any order
    return {**host, **own, "Env": sorted(own["Env"]), "Binds": sorted(host["Binds"])}
